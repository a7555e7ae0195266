"""Where files of the user's machine live. Light to import."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from avatarkit.errors import ConfigError

__all__ = ["cache_folder", "expand", "find_weights", "weights_folder", "weights_record", "writable_home", "write_weights_record"]


def cache_folder() -> Path:
    """For files that are made once per user: ``$AVATARKIT_CACHE``, else ``avatarkit`` in the user's cache folder."""
    if chosen := os.environ.get("AVATARKIT_CACHE"):
        return expand(chosen)
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or expand("~/AppData/Local")) / "avatarkit" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or expand("~/.cache")) / "avatarkit"


def expand(text: str) -> Path:
    """A path with ``~`` or ``~user`` at its start replaced by the home folder.

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
    """Where checkpoints are looked for: files ``NAME.any-suffix`` or folders ``NAME``."""
    return cache_folder() / "weights"


def find_weights(name: str) -> Path | None:
    """The checkpoint file or folder of that name, or None."""
    folder = weights_folder()
    if (folder / name).exists():
        return folder / name
    matches = sorted(path for path in folder.glob(f"{name}.*") if path.is_file())
    return matches[0] if matches else None


def weights_record(name: str) -> dict[str, Any] | None:
    """How weights were fetched (repository, commit, licence, sha256 of each file); None where they were not, or added by hand."""
    try:
        found = json.loads((weights_folder() / ".records" / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write_weights_record(name: str, record: dict[str, Any]) -> None:
    """The inverse of ``weights_record``."""
    folder = weights_folder() / ".records"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def writable_home(path: Path) -> tuple[Path, bool]:
    """The nearest folder of ``path`` that exists, and whether files can be made in it (tried, not asked)."""
    folder = path.absolute()
    while not folder.is_dir():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return folder, True
    except OSError:
        return folder, False
