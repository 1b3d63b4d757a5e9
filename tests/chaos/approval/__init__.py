"""The approval, held against a model of it, whatever happens in whatever order.

`model` and `operations` say what may become of it, `explaining` what may become of several things
at once. `product` does the same to the product, `seen` reads what came of it, and `machine` holds
the one against the other; `running` runs that, and `broken` shows that it can fail.
"""
