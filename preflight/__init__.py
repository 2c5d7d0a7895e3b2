"""Facts about this host and its cluster, and the checks of a stack's config against them."""
