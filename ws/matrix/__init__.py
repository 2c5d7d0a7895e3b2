"""The command ws matrix: plans, builds and prunes the image family."""
