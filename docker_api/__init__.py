"""A client of the Docker Engine's own API: no docker CLI, no buildx. Knows nothing of stacks or Pulumi."""
