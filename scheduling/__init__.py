"""Which waiting job starts where: pure functions of what is known at one moment. Standard library only, Python 3.10."""
