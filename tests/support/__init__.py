"""Files, models and servers that tests of several folders make."""
