"""Hold what stands around a job: presets, folders that are watched, and what runs when a result is done."""
