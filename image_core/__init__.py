"""How one picture gets better: the OSEDiff generator and everything around one image."""
