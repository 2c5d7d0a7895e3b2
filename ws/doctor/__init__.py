"""`ws doctor`: checks every precondition of a deployment, and shows the remedy for each that is not met."""
