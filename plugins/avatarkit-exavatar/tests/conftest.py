"""What the tracker works with."""

from __future__ import annotations

import pytest

from avatarkit.interfaces import Context
from avatarkit.registry import Registry


@pytest.fixture(scope="module")
def context():
    registry, slots = Registry.load(), {}
    context = Context(get=lambda slot, name=None: slots[slot])
    slots["body"] = registry.get("body", "anny").create({}, context)
    slots["renderer"] = registry.get("renderer", "cpu").create({}, context)
    return context
