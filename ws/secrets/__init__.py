"""The secrets of a stack: where each comes from, who uses it, how old it is; and other values for them."""
