"""Ports inside the network: constants, so that every service and every preview knows them.

What is published on the host, and where, is in the settings.
"""

REDIS = 6379
POSTGRES = 5432
MLFLOW = 5000
MARIMO = 8080
HEALTH = 8888

RAY_GCS = 6379
RAY_DASHBOARD = 8265
RAY_CLIENT = 10001
