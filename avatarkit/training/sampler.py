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

    def draw(self, generator: torch.Generator, part: int = 0, parts: int = 1) -> View:
        """Return the next view; of the several ``parts`` of a step, each is of the kind that its part of the shares asks for."""
        shares, details = self._shares, self._photo.details
        r = torch.rand(3, generator=generator).tolist()
        place, photo = (part + r[0]) / parts, shares.photo_share if self._frames else 1.0
        if place < photo:
            whole = 1.0 - shares.detail_share * bool(details)
            return self._photo.full if place < photo * whole else details[int(r[2] * len(details))]
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
