"""Logs of a stack: those of its containers and the files of Ray's sessions, merged by time (`ws logs`)."""
