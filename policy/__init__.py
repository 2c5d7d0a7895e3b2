"""The rules of hardening that a stack's resources keep, whichever engine makes them (docs/security.md)."""
