"""People with notebooks of their own."""
