"""The notebook server."""
