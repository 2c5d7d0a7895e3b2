"""Base images: Debian with the site's certificate authorities and the platform's user."""
