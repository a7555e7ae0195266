"""Former names of slots and kinds, which recipes, flags and plugins may still use. Light to import."""

from __future__ import annotations

import logging

__all__ = ["current_name", "renamed"]

log = logging.getLogger("avatarkit.config")

_RENAMED = {"matter": "matting"}


def current_name(name: str) -> str:
    """The name now of a slot or a kind of component."""
    return _RENAMED.get(name, name)


def renamed(name: str, origin: str) -> str:
    """``current_name``, with a note in the log where the name is a former one.

    Args:
        name: of a slot. origin: where it was found: a recipe, a flag.
    """
    now = current_name(name)
    if now != name:
        log.warning("%s says %r: this slot is called %r now, and the old name goes in version 0.3.", origin, name, now)
    return now
