"""Train the generator: data, losses, networks and the loop."""
