"""A body from one motion and a mouth from another."""

from __future__ import annotations

from dataclasses import replace

import torch

from avatarkit.motion.mixing import with_mouth
from avatarkit.testing import TinyBody, tiny_motion
from avatarkit.types.body import Motion

BODY = TinyBody()


def test_the_mouth_follows_the_sound_at_the_same_times_and_is_shut_after_it() -> None:
    body = tiny_motion(BODY)
    count = 31
    curve = torch.linspace(0, 1, count)[:, None].expand(count, 2)
    params = replace(body.params[torch.zeros(count, dtype=torch.long)], expression=curve)
    speech = Motion("speech", 60.0, params)  # half a second
    mixed = with_mouth(body, speech, BODY)
    times = torch.arange(len(body)) / body.fps
    expected = torch.where(times <= 0.5, 2 * times, 0 * times)
    torch.testing.assert_close(mixed.params.expression[:, 0], expected)
    for field in ("root", "joints", "translation"):
        assert torch.equal(getattr(mixed.params, field), getattr(body.params, field))
