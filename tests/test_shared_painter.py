"""Components that color the same subject share one painter, which is freed together with the subject."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest

from avatarkit.appearance import shared_painter as module
from avatarkit.appearance.shared_painter import shared_painter
from avatarkit.testing import ReferenceRenderer, tiny_context, tiny_subject


@pytest.fixture
def made(monkeypatch):
    found = []

    class Painter:
        def __init__(self, *given):
            found.append(given[0].photo.name)

    monkeypatch.setattr(module, "PhotoPainter", Painter)
    yield found
    module._kept.clear()


def test_a_subject_has_one_painter_until_its_last_user(made):
    subject, body, renderer = tiny_subject(size=32), tiny_context().get("body"), ReferenceRenderer()
    first = shared_painter(subject, body, renderer)
    assert shared_painter(subject, body, renderer) is first
    assert shared_painter(subject, body, renderer, keep=False) is first and not module._kept
    assert shared_painter(subject, body, renderer) is not first and len(made) == 2
    assert shared_painter(subject, body, ReferenceRenderer()) is not first and len(made) == 3


def test_another_subject_or_none_frees_it(made):
    body, renderer = tiny_context().get("body"), ReferenceRenderer()
    subject = tiny_subject(size=32)
    other = replace(subject)
    shared_painter(subject, body, renderer)
    shared_painter(other, body, renderer)
    assert list(module._kept) == [id(other)]
    del other
    gc.collect()
    assert not module._kept
