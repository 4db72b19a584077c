"""Make results that hang on chance: maps of how far to trust them, and images as the published code draws them."""
