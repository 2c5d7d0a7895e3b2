"""Who leads a cluster: lease, election, membership and the Redis pair. Standard library only, Python 3.10 or newer."""
