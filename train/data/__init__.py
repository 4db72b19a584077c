"""Provide training material: files, clips, drawings, and the degradation of each."""
