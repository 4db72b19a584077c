"""Provide frames: from videos, folders, animations, arrays, or two sources side by side."""
