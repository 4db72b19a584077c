"""How one image gets better: the OSEDiff generator and everything around one image."""
