"""Temporary names of writers, and sweeping what killed writers left. Light to import."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["forget", "is_inside", "is_temporary", "remember", "sweep", "temporary_name"]

_TEMPORARY = re.compile(r"\.avatarkit-([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]+)-([0-9a-f]{8})\.tmp")
_FOREIGN_SECONDS = 24 * 3600.0  # a temporary file of another machine or container is left alone for so long
_CLOCK_SECONDS = 3600.0  # that a clock may be put forward while a file is written
_live: set[str] = set()  # names of the temporary files that this process is writing


def temporary_name(target: Path) -> str:
    """Return a hidden name, short enough for every disk, that no person would choose."""
    name = f".avatarkit-{_digest(target)}-{_home()}-{os.getpid():x}-{secrets.token_hex(4)}.tmp"
    _live.add(name)
    return name


def is_temporary(name: str) -> bool:
    """Return whether this is the name of a temporary file or folder of ours."""
    return _TEMPORARY.fullmatch(name) is not None


def forget(name: str | None = None) -> None:
    """Note that a temporary file is no longer written to; None = that none is, as after a kill."""
    _live.clear() if name is None else _live.discard(name)


def remember(name: str) -> None:
    """Note that a temporary folder with a name of its own is being written to."""
    _live.add(name)


def is_inside(path: Path) -> bool:
    """Return whether a file is in a temporary folder that this process is writing to."""
    return any(part in _live for part in path.parts[:-1])


def _digest(target: Path) -> str:
    return hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]


def _home() -> str:
    """Return a mark of this machine or container; others that share the disk have their own process numbers."""
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:4]


def sweep(target: Path) -> None:
    """Delete the temporary files that killed writers of ``target`` left."""
    for path in target.parent.glob(f".avatarkit-{_digest(target)}-*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match and path.name not in _live and not _alive(path, match[2], int(match[3], 16)):
            with suppress(OSError):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def _alive(path: Path, home: str, process: int) -> bool:
    """Return whether the writer of a temporary file may still run."""
    if home != _home():
        with suppress(OSError):
            return time.time() - path.lstat().st_mtime < _FOREIGN_SECONDS
        return True
    if process == os.getpid():
        return False  # of an earlier process with our number: our own are in _live
    if sys.platform == "win32":
        return _alive_on_windows(process)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return not _younger(process, path)


def _younger(process: int, path: Path) -> bool:
    """Return whether a process began after ``path`` was last written: then another one had this number before (Linux)."""
    try:
        began = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        up = float(Path("/proc/uptime").read_text().split()[0])
        return time.time() - up + began > path.lstat().st_mtime + _CLOCK_SECONDS
    except (OSError, ValueError, IndexError, AttributeError):
        return False


if sys.platform == "win32":

    def _alive_on_windows(process: int) -> bool:
        """As ``_alive``; there ``os.kill`` would end the process."""
        import ctypes

        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        handle = kernel.OpenProcess(0x1000, False, process)  # PROCESS_QUERY_LIMITED_INFORMATION
        if not handle:
            return ctypes.get_last_error() == 5  # ERROR_ACCESS_DENIED: it runs, as another user
        code = ctypes.c_ulong()
        known = kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.CloseHandle(handle)
        return not known or code.value == 259  # STILL_ACTIVE
