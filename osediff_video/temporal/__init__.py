"""Keep videos steady in time: motion, the steps that carry frames, the blend along the motion, tones over time."""
