"""One stack on this host: its identity, state folder, secrets, cluster key, remembered sources, and what runs on it."""
