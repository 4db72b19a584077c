"""Decode, describe and encode image files: depth, colour spaces, metadata, transparent edges."""
