"""The stable addresses of Ray's head on this host."""
