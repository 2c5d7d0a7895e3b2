"""Leader election: lease, state machine, membership, Redis pair. Standard library only, Python 3.10 or newer."""
