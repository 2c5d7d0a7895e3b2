"""The health service's page for people: the group's home page."""
