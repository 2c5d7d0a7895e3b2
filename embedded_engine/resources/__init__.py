"""The resource types of the embedded engine, one module each; `base` defines the interface of a module."""
