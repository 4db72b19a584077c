"""Describe what an image shows in words: from the image to a prompt, from a prompt to its embedding."""
