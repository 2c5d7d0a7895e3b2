"""One stack on this host: its identity, state folder, secrets, cluster key, image sources and running work."""
