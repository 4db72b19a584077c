"""Score images and videos against references, and lay the scores out in a table."""
