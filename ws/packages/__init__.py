"""The commands ws packages: a stack's own packages and their lock."""
