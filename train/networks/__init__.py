"""Build what is trained: the restorer, the embedded model, its prior, adapters, and the reading of captions."""
