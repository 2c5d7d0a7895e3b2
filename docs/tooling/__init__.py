"""What makes the documentation site and its pictures, and checks its links."""
