"""Sphinx settings: `sphinx-build -W docs BUILD`. Nothing is loaded from another machine."""

project = "osediff-video"
author = "the authors of osediff-video"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["models/runs", "models/cards"]
html_theme = "furo"
html_title = "osediff-video"
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]  # links to files of the repository outside these pages
