"""Define the command `osediff-video gui`."""

from pathlib import Path

import click

from cli.help import OUTPUT, command, option
from cli.printing import say

SERVER = "Address"


@command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path), metavar="[FOLDER]...")
@option(
    OUTPUT, "-o", "--output", type=click.Path(path_type=Path), help="Folder for results.  [default: the first FOLDER]"
)
@option(
    SERVER,
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. With any other one, everybody who reaches it sees the page, FOLDERs and results.",
)
@option(
    SERVER, "--port", type=click.IntRange(0, 65535), default=7860, show_default=True, help="Port; 0 is any free one."
)
@option(SERVER, "--open", "open_browser", is_flag=True, help="Open the page in the browser.")
def gui(folders: tuple[Path, ...], output: Path | None, host: str, port: int, open_browser: bool) -> None:  # fmt: skip
    """Show a page in the browser to look at videos and images, preview, and upscale them.

    The page reads files below FOLDER, by default the present folder, and those that are dropped on it. It asks nothing
    outside this machine. Interrupted, it goes on with its queue when it is started again.
    """
    from page.serve import LOOPBACK, serve

    def ready(address: str) -> None:
        say(f"{address} is ready; Ctrl-C ends it, and the queue goes on at the next start")
        if host not in LOOPBACK:
            say(f"note: everybody who reaches {host} can read these folders and write results")
        if open_browser:
            click.launch(address)

    serve(folders or (Path(),), output, host=host, port=port, ready=ready)
