"""How better pictures become a film: media in and out, and the chain between."""
