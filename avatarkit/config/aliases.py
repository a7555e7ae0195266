"""Former names of slots and kinds that recipes, flags and plugins may still use. Fast to import."""

from __future__ import annotations

import logging

__all__ = ["current_name", "renamed"]

log = logging.getLogger("avatarkit.config")

_RENAMED = {"matter": "matting"}


def current_name(name: str) -> str:
    """Return the current name of a slot or a kind of component."""
    return _RENAMED.get(name, name)


def renamed(name: str, origin: str) -> str:
    """Return ``current_name`` and log a warning if ``name`` is a former one.

    Args:
        name: name of a slot.
        origin: where it was found: a recipe, a flag.
    """
    now = current_name(name)
    if now != name:
        log.warning("%s says %r: this slot was renamed to %r; the old name is removed in version 0.3.", origin, name, now)
    return now
