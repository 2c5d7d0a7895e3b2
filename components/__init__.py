"""The platform's Pulumi components, one module each, and the factory that declares their containers."""
