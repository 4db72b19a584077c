"""Find several videos for one command, share them between workers, and stop once."""
