"""What is trained: the restorer, the embedded model, its prior, adapters, and how captions are read."""
