"""The commands ws mlflow: maintenance of what MLflow keeps."""
