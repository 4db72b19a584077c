"""Losses of the generator and of its adversary and critic."""
