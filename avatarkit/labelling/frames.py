"""Turns generated frames into a clip: thins them out and cuts out the person."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from avatarkit.errors import InputError
from avatarkit.interfaces import MattingModel
from avatarkit.types.body import Motion
from avatarkit.types.photo import Photo

__all__ = ["CutOut", "cut_out", "thinned"]

log = logging.getLogger("avatarkit.labelling")


@dataclass(frozen=True)
class CutOut:
    """Frames with the person cut out.

    Attributes:
        colors: (T, H, W, 3) uint8 foreground colors.
        alpha: (T, H, W) uint8 matte, empty in frames without a person.
        confidence: (T, H, W) uint8, zero in frames without a person.
    """

    colors: torch.Tensor
    alpha: torch.Tensor
    confidence: torch.Tensor


def thinned(motion: Motion, fps: float) -> Motion:
    """Return every n-th frame, so that about ``fps`` frames per second are left."""
    stride = max(1, round(motion.fps / fps))
    valid = None if motion.valid is None else motion.valid[::stride]
    return replace(motion, fps=motion.fps / stride, params=motion.params[::stride], valid=valid)


def cut_out(
    frames: torch.Tensor, matting: MattingModel, name: str, trust: float, report: Callable[..., None] = lambda what, part: None
) -> CutOut:
    """Cut the person out of every frame; frames without a person get zero confidence.

    Args:
        frames: (T, H, W, 3) uint8.
        matting: matting model.
        name: name of the clip, for messages.
        trust: 0 to 1, confidence of frames with a person.
        report: receives progress as text and fraction.
    """
    colors, alphas, confidences, lost = torch.empty_like(frames), [], [], 0
    for number, frame in enumerate(frames):
        report("cutting the person out", number / len(frames))
        digest = hashlib.sha256(frame.numpy().tobytes()).hexdigest()
        try:
            matte = matting.matte(Photo(frame.float() / 255, None, digest, f"{name}-{number}"))
            alpha, color, sure = matte.alpha, matte.foreground, trust
        except InputError:
            alpha, color, sure = torch.zeros(frame.shape[:2]), frame.float() / 255, 0.0
            lost += 1
        colors[number] = _to_bytes(color)
        alphas.append(_to_bytes(alpha))
        confidences.append(torch.full_like(alphas[-1], round(255 * sure)))
    if lost:
        log.warning("clip %s: no person was found in %d of %d generated frames", name, lost, len(frames))
    return CutOut(colors, torch.stack(alphas), torch.stack(confidences))


def _to_bytes(values: torch.Tensor) -> torch.Tensor:
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)
