"""Worker processes of the batch and the studio: started in groups of their own, killed whole, and their endings in words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["end_of", "ending", "kill", "spawn"]

_LOG_LINES = 60  # of a worker that failed
_LOG_BYTES = 20_000  # from the end of a log, of which these lines are taken
_THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def spawn(command: Sequence[str], log: Path, cores: int | None = None, talks: bool = False) -> subprocess.Popen[bytes]:
    """Start a worker in a process group of its own; its standard input is a pipe.

    Args:
        command: of the worker.
        log: file for what it says.
        cores: how many threads it computes with; None = as many as it likes.
        talks: its standard output is a pipe, too, and not part of the log.
    """
    threads = dict.fromkeys(_THREADS, str(cores)) if cores else {}
    environ = os.environ | threads | {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONUTF8": "1"}
    with log.open("wb") as stream:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE if talks else stream, stderr=stream, env=environ,
            start_new_session=True,
        )  # fmt: skip


def kill(worker: subprocess.Popen[bytes]) -> None:
    """Kill a worker, with what it started."""
    with suppress(OSError):
        os.killpg(worker.pid, signal.SIGKILL) if sys.platform != "win32" else worker.kill()


def ending(code: int) -> str:
    """Return the exit code of a worker that left no result in words."""
    if code >= 0:
        return f"The worker ended with exit code {code} and left no result."
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    memory = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"The worker was killed by {name}{memory}."


def end_of(log: Path) -> str:
    """Return the last lines of a log."""
    try:
        with log.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _LOG_BYTES))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return "none\n"
    return "\n".join(lines[-_LOG_LINES:]) + "\n"
