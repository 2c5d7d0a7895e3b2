"""The resource types that the engine knows, one module each; `base` says what a module must offer."""
