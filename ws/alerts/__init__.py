"""Alerts of a stack: those that fire, and silences."""
