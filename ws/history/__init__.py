"""`ws history` and `ws rollback`: what was done to a stack, and the way back."""
