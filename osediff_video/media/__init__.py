"""Contain all of PyAV: files in, frames out; frames in, files out."""
