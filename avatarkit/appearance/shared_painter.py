"""One painter for all components that color the same subject: making it parses the photo, which takes seconds."""

from __future__ import annotations

import weakref

from avatarkit.appearance.painter import PhotoPainter
from avatarkit.interfaces import BodyModel, Renderer
from avatarkit.types.subject import Subject

__all__ = ["shared_painter"]

_kept: dict[int, tuple[BodyModel, Renderer, PhotoPainter]] = {}  # by id of the subject, as long as that lives


def shared_painter(subject: Subject, body: BodyModel, renderer: Renderer, keep: bool = True) -> PhotoPainter:
    """Return the painter of a subject; it is made once, and must not be changed.

    Args:
        subject: the tracked photo, the same object in each call.
        body: its body model.
        renderer: its mesh rasterizer decides what is visible.
        keep: let the next caller have the painter, too; False for the last one, so that its memory is free.
    """
    found = _kept.pop(id(subject), None)
    made = found if found is not None and found[0] is body and found[1] is renderer else None
    painter = PhotoPainter(subject, body, renderer) if made is None else made[2]
    if keep:
        _kept.clear()  # of another subject
        _kept[id(subject)] = body, renderer, painter
        weakref.finalize(subject, _kept.pop, id(subject), None)
    return painter
