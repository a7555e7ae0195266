"""One painter, and one parsing, for all that look at the same photo: making them takes seconds."""

from __future__ import annotations

import weakref

from avatarkit.appearance.painter import PhotoPainter
from avatarkit.appearance.parsing import Parsing, parse, vertex_labels
from avatarkit.interfaces import BodyModel, Renderer
from avatarkit.types.subject import Subject

__all__ = ["shared_painter", "shared_parsing"]

_kept: dict[int, tuple[BodyModel, Renderer, PhotoPainter]] = {}  # by id of the subject, as long as that lives
_parsed: dict[int, tuple[tuple[object, ...], Parsing]] = {}  # by id of the matte, as long as that lives


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
    _keep_parsing(subject, body, renderer, painter.parsing)
    return painter


def shared_parsing(subject: Subject, body: BodyModel, renderer: Renderer) -> Parsing:
    """Return what each pixel of a subject's photo shows, from its painter if there was one; it must not be changed."""
    found = _parsed.get(id(subject.matte))
    if found is not None and all(a is b for a, b in zip(found[0], _sources(subject, body, renderer), strict=True)):
        return found[1]
    vertices = body.vertices(subject.params, subject.vertex_offsets)[0]
    parsing = parse(subject, vertices, vertex_labels(body, subject.params.shape), body, renderer)
    _keep_parsing(subject, body, renderer, parsing)
    return parsing


def _keep_parsing(subject: Subject, body: BodyModel, renderer: Renderer, parsing: Parsing) -> None:
    _parsed.clear()  # of another subject
    _parsed[id(subject.matte)] = _sources(subject, body, renderer), parsing
    weakref.finalize(subject.matte, _parsed.pop, id(subject.matte), None)


def _sources(subject: Subject, body: BodyModel, renderer: Renderer) -> tuple[object, ...]:
    """Return what a parsing is made from; a subject with other warnings has the same."""
    seen = subject.quality.visible, subject.quality.partially_visible
    return body, renderer, subject.photo, subject.keypoints, subject.params, subject.camera, subject.vertex_offsets, *seen
