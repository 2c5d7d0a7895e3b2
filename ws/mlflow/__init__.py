"""The commands of `ws mlflow`: maintenance of MLflow's data."""
