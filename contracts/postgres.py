"""The roles of a stack's Postgres. Each has its password in a file of its own, `postgres-ROLE`.

The superuser's is `postgres-password`, which only the container of Postgres has.
"""

MLFLOW = "mlflow"  # owns the database of this name, and no more; so does the queue
QUEUE = "queue"
MONITOR = "monitor"  # owns nothing, and reads figures of all databases
ROLES = (MLFLOW, QUEUE, MONITOR)
