"""A mark that viewers see: text in the lower left corner of pictures and films."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from avatarkit.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from avatarkit.types.frames import Frame

__all__ = ["check_mark", "marked", "marked_frames"]

_LONGEST = 60  # characters
_PART = 0.045  # of the picture's height, of the letters
_SMALLEST = 10  # pixels


def check_mark(text: str | None) -> None:
    """Check the text of ``--mark`` before work begins.

    Raises:
        ConfigError: it is empty, too long, or holds what the font cannot draw.
    """
    if text is not None and not (0 < len(text.strip()) <= _LONGEST and text.isprintable() and _drawable(text)):
        raise ConfigError(f"--mark must be 1 to {_LONGEST} Latin letters, digits and signs, e.g. --mark synthetic.")


def _drawable(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def marked(image: torch.Tensor, text: str) -> torch.Tensor:
    """Return a picture (H, W, 3 or 4), sRGB 0 to 1, with the text on it; opaque there."""
    import torch

    height, width = image.shape[:2]
    ink, cover = _letters(width, height, text)
    color = image[..., :3] * (1 - cover[..., None]) + ink[..., None] * cover[..., None]
    return torch.cat([color, torch.maximum(image[..., 3:], cover[..., None])], -1) if image.shape[2] == 4 else color


def marked_frames(frames: Iterator[Frame], text: str) -> Iterator[Frame]:
    """Yield frames with the text on them."""
    for frame in frames:
        yield replace(frame, image=marked(frame.image, text))


@functools.lru_cache(maxsize=4)
def _letters(width: int, height: int, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how light each pixel of the mark is and how much of the picture it covers, both (H, W) from 0 to 1."""
    import numpy as np
    import torch
    from PIL import Image, ImageDraw, ImageFont

    size = max(_SMALLEST, round(height * _PART))
    while True:
        font = ImageFont.load_default(size)
        edge = max(1, size // 8)
        box = font.getbbox(text, stroke_width=edge)
        if box[2] - box[0] + size <= width or size <= 6:
            break
        size -= 1
    place = (size // 2, height - size // 2 - box[3])
    light, cover = Image.new("L", (width, height)), Image.new("L", (width, height))
    ImageDraw.Draw(cover).text(place, text, 255, font, stroke_width=edge)  # dark edges: it is read on any background
    ImageDraw.Draw(light).text(place, text, 255, font)
    planes = [torch.from_numpy(np.asarray(plane, dtype=np.float32) / 255) for plane in (light, cover)]
    return planes[0], planes[1]
