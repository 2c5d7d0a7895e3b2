"""The platform's Pulumi components, one module each, and what they are configured and built from."""
