"""What a user may write: the types, models and rules of stack config, its files, and the errors that name its keys."""
