"""Settings of Sphinx: `sphinx-build -W -n docs BUILD`. Nothing is loaded from another machine."""

project = "osediff-video"
author = "the authors of osediff-video"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["models/runs", "models/cards"]
html_theme = "furo"
html_show_copyright = False
html_title = "osediff-video"
html_static_path = ["static"]
html_css_files = ["wide.css"]
myst_heading_anchors = 3
