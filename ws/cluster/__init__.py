"""`ws` on a running cluster: its nodes, head and Redis. Works on one host too, where that makes sense."""
