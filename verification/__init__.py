"""Checks a deployed stack from the inside, after every deployment and on demand."""
