"""What frames come from: videos, folders, animations, two sources side by side."""
