"""Another build of Ray than the release that the images hold."""
