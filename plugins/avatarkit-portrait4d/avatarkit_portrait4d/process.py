"""Runs one command of the checkout in its own process, with limits on time and on what it may write."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from avatarkit.errors import InputError, MissingRequirement

__all__ = ["Ended", "explain", "failure", "run"]

POLL_SECONDS = 0.05
LARGEST_LOG = 64 * 2**20  # bytes; more is garbage
_DROPPED = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")

# What the log says -> what it means and what to do.
_SIGNS = (
    (r"CUDA out of memory", "the GPU has too little free memory; close other programs, or take a larger one (gpu)"),
    (r"URLError|ConnectionError", "it tried to download a file, so some of its files are missing"),
    (r"Ninja is required|nvcc|Failed!", "its CUDA code could not be compiled; install ninja and the CUDA toolkit"),
    (r"ModuleNotFoundError: No module named '(\w+)'", "its environment lacks the Python module {0!r}"),
    (r"No such file or directory: '([^']+)'", "it misses the file {0}"),
    (r"(?:Found no NVIDIA driver|CUDA unknown error|no CUDA-capable)", "it found no usable GPU"),
    (r"numpy\.dtype size changed|has no attribute 'int'", "its environment has another numpy than it wants (1.23 to 1.26)"),
)


class Ended(Exception):
    """The process did not end well.

    Attributes:
        reason: a phrase.
        hopeless: whether another try would end the same way.
    """

    def __init__(self, reason: str, hopeless: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.hopeless = reason, hopeless


def run(
    command: Sequence[str | Path],
    cwd: Path,
    log: Path,
    environment: dict[str, str],
    made: Callable[[], int],
    startup_seconds: float,
    step_seconds: float,
) -> None:
    """Run a command to its end.

    Its process group is gone when this returns, whatever happens.

    Args:
        command: program and arguments.
        cwd: where it runs.
        log: everything that it says is added to this file.
        environment: added to the user's, without what would lead another Python misaligned.
        made: how many results are there; the clock starts anew with each.
        startup_seconds: until the first result.
        step_seconds: from one result to the next.

    Raises:
        Ended: it failed, hung or wrote without end.
        MissingRequirement: it could not be started.
    """
    inherited = {k: v for k, v in os.environ.items() if k.upper() not in _DROPPED}
    with log.open("ab") as out:
        try:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                env={**inherited, "PYTHONNOUSERSITE": "1", **environment}, start_new_session=sys.platform != "win32",
            )  # fmt: skip
        except OSError as error:
            raise MissingRequirement(f"{command[0]} cannot be started: {error.strerror or error}.") from error
        try:
            _watch(process, log, made, startup_seconds, step_seconds)
        finally:
            _end(process)


def _watch(
    process: subprocess.Popen[bytes], log: Path, made: Callable[[], int], startup_seconds: float, step_seconds: float
) -> None:
    before, since = made(), time.monotonic()
    first = before
    while process.poll() is None:
        time.sleep(POLL_SECONDS)
        now = made()
        if now != before:
            before, since = now, time.monotonic()
        limit = step_seconds if before > first else startup_seconds
        if time.monotonic() - since > limit:
            what = "made no further frame" if before > first else "did not begin"
            raise Ended(f"it {what} within {limit:.0f} s", hopeless=before == first)
        if log.stat().st_size > LARGEST_LOG:
            raise Ended("it writes without end", hopeless=True)
    if process.returncode:
        code = process.returncode
        how = f"it was killed by signal {-code}" if code < 0 else f"it ended with code {code}"
        raise Ended(f"{how}{explain(log)}", hopeless=code > 0)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it started."""
    try:
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()


def explain(log: Path) -> str:
    """Return `` (...)`` with the meaning of the end of the log, or its last line."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 20000))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    for pattern, meaning in _SIGNS:
        if match := re.search(pattern, text):
            return f" ({meaning.format(*match.groups())})"
    lines = [line for line in text.splitlines() if line.strip()]
    return f" ({''.join(c for c in lines[-1] if c.isprintable())[:200]})" if lines else ""


def failure(reason: str, log: Path) -> InputError:
    """Return the one sentence for the user."""
    return InputError(f"Portrait4D failed: {reason}. See its output in {log}.")
