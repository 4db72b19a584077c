"""Scores of images and videos against references, and how they are laid out in a table."""
