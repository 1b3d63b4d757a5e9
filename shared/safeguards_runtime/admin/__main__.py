"""`python -m safeguards_runtime.admin`."""

from safeguards_runtime.admin import main

main()
