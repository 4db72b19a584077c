"""Make one job on many machines: a plan made once, segments made anywhere, one result."""
