"""A worker of ``avatarkit batch`` that builds nothing: the text of a photo says what it does.

``good``; ``bad`` (an error of avatarkit); ``bug``; ``die`` (kill -9, each time); ``die once``; ``hog`` (memory without end);
``hang`` (without letting threads of Python run);
``wait`` (until it is killed, or until there is a file ``go`` beside the photo). ``NAME.began`` holds the process of the worker,
and ``NAME.built`` a line for each build that came to its end.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

from avatarkit.errors import InputError
from avatarkit_cli.batch.worker import Job, main


def build(job: Job) -> dict[str, Any]:
    photo = Path(job.photo)
    words, first = photo.read_text(), not photo.with_suffix(".began").exists()
    part = photo.with_suffix(".part")
    part.write_text(str(os.getpid()))
    part.replace(photo.with_suffix(".began"))
    print(f"stub of {photo.name} on {os.environ['OMP_NUM_THREADS']} cores")
    match words:
        case "bad":
            raise InputError("No person was found in the photo.")
        case "bug":
            raise ZeroDivisionError("a bug")
        case "hang":
            ctypes.PyDLL(None).sleep(1000)
        case "hog":
            hoard = []
            while True:
                hoard.append(bytearray(b"x") * 5_000_000)
                time.sleep(0.005)
    if words == "die" or (words == "die once" and first):
        os.kill(os.getpid(), signal.SIGKILL)
    while words == "wait" and not photo.with_name("go").exists():
        time.sleep(0.02)
    with photo.with_suffix(".built").open("a") as stream:
        stream.write("built\n")
    return {"sha256": "0" * 64, "seconds": {"tracking": 1.5}, "peak_memory_mb": 9.0, "psnr": 25.0, "iou": 0.9, "warnings": ["W"]}


if __name__ == "__main__":
    main(build)
