"""Get, make, mix and load a model. Nothing below this folder imports it."""
