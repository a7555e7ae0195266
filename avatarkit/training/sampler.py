"""Chooses the next training view: the photo, one of its details, or a label frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from avatarkit.config.sections import TrainingConfig
from avatarkit.training.views import PhotoViews, View, label_view
from avatarkit.types.pseudo_labels import LabelClip

__all__ = ["Sampler", "frame_confidence"]


class Sampler:
    """Draws views; equal generators give equal views.

    Frames of label clips are drawn in proportion to their mean confidence, so poor frames are rare and frames without a person
    are never drawn. Without ``confidence`` all frames and pixels count the same.

    Args:
        photo: views of the photo.
        labels: all clips.
        shares: how often each kind of view is drawn.
    """

    def __init__(self, photo: PhotoViews, labels: Sequence[LabelClip], shares: TrainingConfig) -> None:
        self._photo, self._shares = photo, shares
        self._frames: dict[str, list[tuple[LabelClip, int]]] = {}
        self._worth: dict[str, torch.Tensor] = {}
        for region in ("body", "head"):
            clips = [clip for clip in labels if clip.region == region]
            worth = torch.cat([frame_confidence(c) for c in clips]) if clips else torch.zeros(0)
            if worth.sum() > 0:
                self._frames[region] = [(clip, k) for clip in clips for k in range(len(clip))]
                self._worth[region] = worth if shares.confidence else (worth > 0).float()

    def draw(self, generator: torch.Generator) -> View:
        """Return the next view."""
        shares = self._shares
        r = torch.rand(3, generator=generator).tolist()
        if not self._frames or r[0] < shares.photo_share:
            details = self._photo.details
            return details[int(r[2] * len(details))] if details and r[1] < shares.detail_share else self._photo.full
        head = "head" in self._frames and ("body" not in self._frames or r[1] < shares.head_share)
        region = "head" if head else "body"
        number = int(torch.multinomial(self._worth[region], 1, generator=generator))
        clip, frame = self._frames[region][number]
        view = label_view(clip, frame)
        return view if shares.confidence else replace(view, confidence=torch.ones_like(view.confidence))


def frame_confidence(clip: LabelClip) -> torch.Tensor:
    """Return the mean confidence over the person in each frame, (T,) 0 to 1."""
    person = (clip.alpha > 127).flatten(1)
    return (clip.confidence.flatten(1) * person).sum(1, dtype=torch.float32) / (255 * person.sum(1).clamp(min=1))
