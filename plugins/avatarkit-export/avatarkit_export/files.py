"""Shared by all exporters: atomic writing, and the notice that every exported avatar contains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avatarkit.errors import ConfigError, InputError
from avatarkit.utils.files import write_bytes
from avatarkit.utils.text import one_line

__all__ = ["SYNTHETIC", "check_options", "check_suffix", "provenance", "write_file"]

SYNTHETIC = "synthetic, made with avatarkit"


def provenance(options: dict[str, Any]) -> str:
    """Return one line that says what the file is and what the person agreed to.

    The latter is the option ``consent``.
    """
    consent = " ".join(one_line(options.get("consent") or "none was recorded").split())
    return f"{SYNTHETIC}; consent: {consent}"


_OPTIONS = ("consent", "name", "camera", "center", "box")  # of Exporter.write


def check_options(name: str, options: dict[str, Any]) -> None:
    """Options are those of ``Exporter.write``.

    Raises:
        ConfigError: there is another option.
    """
    unknown = sorted(set(options) - {*_OPTIONS, "centre"})  # a former name
    if unknown:
        raise ConfigError(f"The exporter {name!r} has no option {unknown[0]!r}; it knows {', '.join(_OPTIONS)}.")


def check_suffix(path: Path, suffix: str) -> None:
    """Programs choose a reader by the suffix.

    Raises:
        InputError: ``path`` ends in another, or is a folder.
    """
    if path.suffix.lower() != suffix:
        raise InputError(f"This file must end in {suffix}: name it {path.stem or 'avatar'}{suffix} instead of {path.name}.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file.")


def write_file(path: Path, *parts: bytes) -> None:
    """Write the parts one after the other, whole or not at all.

    Raises:
        StoreError: no space, no permission.
    """
    write_bytes(path, *parts)
