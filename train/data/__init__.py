"""Training material: files, clips, drawings, and the degradation that makes them bad."""
