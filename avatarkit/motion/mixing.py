"""Mixes motions: a body from one, a mouth from another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from avatarkit.interfaces import BodyModel
from avatarkit.types.body import Motion

__all__ = ["with_mouth"]

_MOUTH = ("jaw", "mouth", "tongue", "cheekPuff")


def with_mouth(motion: Motion, speech: Motion, body: BodyModel) -> Motion:
    """Return a motion whose mouth moves as in another one, at the same times; after its end the mouth is shut.

    Args:
        motion: moves everything else.
        speech: moves the mouth.
        body: body model of both.
    """
    times = np.arange(len(motion)) / motion.fps
    known = np.arange(len(speech)) / speech.fps
    expression = motion.params.expression.clone()
    for k, name in enumerate(body.expression_names):
        if name.startswith(_MOUTH):
            curve = speech.params.expression[:, k].double().numpy()
            expression[:, k] = torch.from_numpy(np.interp(times, known, curve, right=0.0)).to(expression)
    return replace(motion, params=replace(motion.params, expression=expression))
