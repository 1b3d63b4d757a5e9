"""How the stack is run."""
