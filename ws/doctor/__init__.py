"""`ws doctor`: every precondition of a deployment, its state, and the remedy where it is not met."""
