"""Prepares a host for a deployment: on Debian and its derivatives, as root; elsewhere it says what to do."""
