"""Implements `ws postgres`."""
