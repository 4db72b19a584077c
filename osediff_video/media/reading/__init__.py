"""Read a container: every frame in order with its exact time, from any place, and what the container held."""
