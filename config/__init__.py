"""Stack config: its types, models and rules, its files, and errors that name its keys."""
