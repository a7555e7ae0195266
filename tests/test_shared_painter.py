"""Components that color the same subject share one painter and its parsing, which are freed together with the subject."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
import torch

from avatarkit.appearance import shared_painter as module
from avatarkit.appearance.shared_painter import shared_painter, shared_parsing
from avatarkit.testing import ReferenceRenderer, tiny_context, tiny_subject


@pytest.fixture
def made(monkeypatch):
    found = []

    class Painter:
        def __init__(self, *given):
            found.append(given[0].photo.name)
            self.parsing = object()

    monkeypatch.setattr(module, "PhotoPainter", Painter)
    yield found
    module._kept.clear()
    module._parsed.clear()


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


def test_the_parsing_outlives_the_painter_and_serves_the_subject_with_other_warnings(made):
    subject, body, renderer = tiny_subject(size=32), tiny_context().get("body"), ReferenceRenderer()
    parsing = shared_painter(subject, body, renderer, keep=False).parsing
    warned = replace(subject, quality=replace(subject.quality, warnings=("It is dark.",)))
    del subject
    gc.collect()
    assert shared_parsing(warned, body, renderer) is parsing
    moved = replace(warned, params=replace(warned.params, root=warned.params.root + 0.1))
    parsed = shared_parsing(moved, body, renderer)
    assert parsed is not parsing and shared_parsing(moved, body, renderer) is parsed
    del warned, moved
    gc.collect()
    assert not module._parsed


def test_a_parsing_without_a_painter_is_the_painters():
    subject, body, renderer = tiny_subject(size=32), tiny_context().get("body"), ReferenceRenderer()
    alone = shared_parsing(subject, body, renderer)
    module._parsed.clear()
    assert torch.equal(alone.probability, shared_painter(subject, body, renderer, keep=False).parsing.probability)
    module._parsed.clear()
