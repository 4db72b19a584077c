"""Determine where shots begin, and how each of them is treated."""
