"""Recipes of the platform's images: Dockerfiles, lock files, variants and budgets."""
