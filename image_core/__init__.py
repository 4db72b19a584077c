"""Make one image better: the OSEDiff generator and everything around one image."""
