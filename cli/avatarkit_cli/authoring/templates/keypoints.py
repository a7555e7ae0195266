"""Detects landmarks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from avatarkit import Context, InputError, Keypoints
from avatarkit.config.options import Range


@dataclass(frozen=True)
class Config:
    """Options of the detector."""

    tolerance: Annotated[int, Range(0, 255)] = 25
    """Largest difference from the wall's color, 0 to 255, at which a pixel counts as wall."""


class Example:
    """Five points on the outline of a person in front of a plain wall: top, bottom, left, right and middle.

    A real detector returns the sets that body models know: see ``Keypoints``.
    """

    def __init__(self, config: Config, context: Context) -> None:
        self.config = config

    def detect(self, image: NDArray[np.uint8], person: int | None = None) -> Keypoints:
        found = self._find(image)
        if found is None:
            raise InputError("The picture shows no person.")
        return found

    def detect_video(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[Keypoints | None]:
        for image in images:  # one at a time: a video may not fit into memory
            yield self._find(image)

    def _find(self, image: NDArray[np.uint8]) -> Keypoints | None:
        height, width, _ = image.shape
        distance = np.abs(image.astype(int) - image[0, 0].astype(int)).max(-1)
        rows, columns = np.nonzero(distance > self.config.tolerance)
        if not len(rows):
            return None
        pixels = np.stack([columns, rows], -1)
        corners = [rows.argmin(), rows.argmax(), columns.argmin(), columns.argmax()]
        points = np.concatenate([pixels[corners], pixels.mean(0, keepdims=True)]).astype(np.float32) + 0.5
        box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
        return Keypoints(width, height, {"outline5": points}, {"outline5": np.ones(5, np.float32)}, box=box)
