"""The commands ws set, unset and get: one key of a stack file."""
