"""Write a container: segments, then one file with every stream kept."""
