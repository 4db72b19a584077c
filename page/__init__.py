"""Show a page in the browser on which videos and images are looked at, tried and upscaled. Uses the public API only."""
