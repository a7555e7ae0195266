"""Places of files on the user's machine. Light to import."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

from avatarkit.errors import ConfigError

__all__ = [
    "cache_folder",
    "expand",
    "find_weights",
    "is_weights_name",
    "plugins_folder",
    "weights_folder",
    "weights_record",
    "writable_home",
]

_MOST_RECORD = 4_000_000  # bytes; one of a thousand files with long names has 1.2 MB


def cache_folder() -> Path:
    """Return the folder for files that are made once per user: ``$AVATARKIT_CACHE``, else one in the user's cache folder."""
    if chosen := os.environ.get("AVATARKIT_CACHE"):
        return expand(chosen)
    from platformdirs import user_cache_path  # listing and help do not need it

    try:
        return user_cache_path("avatarkit", appauthor=False)
    except RuntimeError:
        raise ConfigError("Your home folder is not known: set AVATARKIT_CACHE to a folder for avatarkit's files.") from None


def plugins_folder() -> Path:
    """For single-file plugins that are always loaded: ``$AVATARKIT_CACHE/plugins``, else in the user's data folder."""
    if os.environ.get("AVATARKIT_CACHE"):
        return cache_folder() / "plugins"
    system: str = sys.platform
    if system == "linux":  # every command asks for it, and the library takes a hundredth of its start
        return expand(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "avatarkit" / "plugins"
    from platformdirs import user_data_path

    try:
        return user_data_path("avatarkit", appauthor=False) / "plugins"
    except RuntimeError:
        raise ConfigError("Your home folder is not known: set AVATARKIT_CACHE to a folder for avatarkit's files.") from None


def expand(text: str) -> Path:
    """Return a path with ``~`` or ``~user`` at its start replaced by the home folder.

    Raises:
        ConfigError: this machine does not know that home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        user = text[1:].partition("/")[0]
        reason = f"there is no user {user!r}" if user else "your home folder is not known"
        raise ConfigError(f"The path {text} cannot be used: {reason}. Give the whole path.") from None


def weights_folder() -> Path:
    """Return the folder of checkpoints: files ``NAME.any-suffix`` or folders ``NAME``."""
    return cache_folder() / "weights"


def is_weights_name(name: object) -> bool:
    """Return whether weights may have this name: letters, digits, ``.``, ``_``, ``+`` and ``-``, at most 100 in all."""
    return isinstance(name, str) and re.fullmatch("[A-Za-z0-9][A-Za-z0-9._+-]{0,98}[A-Za-z0-9]|[A-Za-z0-9]", name) is not None


def find_weights(name: str) -> Path | None:
    """Return the checkpoint file or folder of that name, or None; a name that could lead elsewhere has none."""
    if not is_weights_name(name):
        return None
    folder = weights_folder()
    try:
        if (folder / name).exists():
            return folder / name
        matches = [path for path in folder.glob(f"{name}.*") if path.is_file()]
    except OSError:  # a folder that may not be read
        return None
    return min(matches, key=lambda path: (path.stem != name, path), default=None)


def weights_record(name: str) -> dict[str, Any] | None:
    """How weights were fetched (repository, commit, license, sha256 of each file); None if they were not, or added by hand.

    A record that is damaged counts as none.
    """
    if not is_weights_name(name):
        return None
    path = weights_folder() / ".records" / f"{name}.json"
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > _MOST_RECORD:
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if isinstance(found, dict) and "licence" in found:  # its former name
        found["license"] = found.pop("licence")
    if not isinstance(found, dict) or set(found) != {"repository", "commit", "license", "sha256"}:
        return None
    digests = found["sha256"]
    texts = [found["repository"], found["commit"], found["license"]]
    texts += [*digests, *digests.values()] if isinstance(digests, dict) else [None]
    return found if all(isinstance(text, str) and text.isprintable() for text in texts) else None


def writable_home(path: Path) -> tuple[Path, bool]:
    """Return the nearest folder of ``path`` that exists, and whether files can be made in it (tried, not asked)."""
    folder = path.absolute()
    while not folder.is_dir():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return folder, True
    except OSError:
        return folder, False
