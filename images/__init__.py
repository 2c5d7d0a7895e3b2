"""What the platform's images are made from, and which versions their locks hold."""
