"""Run the page as a Hugging Face Space, in one file: python examples/space.py [PORT].

As app.py of a Space with `sdk: gradio`, beside a requirements.txt that names osediff-video[gui]. Everybody who sees the
Space shares its files and its queue: make it private, or use it with people you know.
"""

import sys
from pathlib import Path

from page.serve import serve

files = Path("files")
files.mkdir(exist_ok=True)
serve(
    (files,),
    host="0.0.0.0",
    port=int(sys.argv[1]) if len(sys.argv) > 1 else 7860,
    ready=lambda at: print(at, flush=True),
)
