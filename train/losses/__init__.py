"""Compute the losses of the generator, its adversary and its critic."""
