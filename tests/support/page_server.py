"""Run the page as a program that notes every address outside this machine that it asks: FOLDER OUTSIDE [SECONDS].

SECONDS: by which each frame in the queue takes longer, so that there is time to pause it.
"""

import functools
import sys
import time
from pathlib import Path

import page.serve
from page.work import carry_out

folder, outside, slower_s = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])


def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        place = arguments[1] if event == "socket.connect" else arguments[0]
        host = place[0] if isinstance(place, tuple) else place
        if host not in ("127.0.0.1", "localhost", "::1", None):
            with outside.open("a") as file:
                file.write(f"{event} {place}\n")


def slowly(request, progress):
    def slower(state):
        time.sleep(slower_s)
        progress(state)

    return carry_out(request, slower)


sys.addaudithook(note)
page.serve.LARGEST_UPLOAD = "1mb"
page.serve.carry_out = slowly
page.serve.serve((folder,), port=0, ready=functools.partial(print, flush=True))
