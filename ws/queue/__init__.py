"""`ws submit`, `ws queue`, `ws job`, `ws usage`: the stack's queue of jobs."""
