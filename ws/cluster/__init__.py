"""What `ws` does with a running cluster: its nodes, its head, its Redis. On one host too, where that makes sense."""
