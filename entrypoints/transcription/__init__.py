"""The platform's health service."""
