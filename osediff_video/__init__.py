"""How better images become a video: media in and out, and the chain between."""
