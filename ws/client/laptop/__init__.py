"""Programs that are copied into the bundle and run on the person's computer: the standard library, Ray and MLflow."""
