"""The genuine Pulumi CLI: found or installed, run, and its events turned into changes."""
