"""The commands `ws backup` and `ws restore`."""
