"""Define the commands that users type."""
