"""``python -m avatarkit``: the command ``avatarkit``, for when its folder is not on the PATH."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import metadata

from avatarkit.registry.specs import DISTRIBUTION, Plugin

__all__ = ["main"]


def main() -> None:
    """Run the command line; without one, say how to install it and exit with 2."""
    command = _command()
    if command is None:
        sys.stderr.write(f"avatarkit: the command line is not installed: pip install --force-reinstall {DISTRIBUTION}\n")
        raise SystemExit(2)
    command()


def _command() -> Callable[[], object] | None:
    """Find the command by its entry point, because the core imports no command line."""
    for entry in metadata.entry_points(group="console_scripts", name="avatarkit"):
        if entry.dist is None or not Plugin(entry.name, distribution=entry.dist.name).bundled:
            continue
        try:
            loaded: Callable[[], object] = entry.load()
        except ModuleNotFoundError as error:
            if error.name != entry.module.partition(".")[0]:
                raise
            continue
        return loaded
    return None


if __name__ == "__main__":
    main()
