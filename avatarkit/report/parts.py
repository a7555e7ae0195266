"""What the templates of the report show, as texts and numbers: pictures, landmarks, curves."""

from __future__ import annotations

import base64
import io
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from avatarkit.types.keypoints import Keypoints

__all__ = ["Curve", "Embedded", "beside", "curve", "embedded", "marks", "numeric_columns"]

_WINDOW = 9  # values of a curve that are averaged
_HUES = {"face": "#22b8cf", "hand": "#ff922b", "pose": "#fcc419"}  # colors of landmark sets, by the beginning of their names


@dataclass(frozen=True)
class Embedded:
    """A picture as a data URL, with its size in pixels."""

    url: str
    width: int
    height: int


def embedded(picture: torch.Tensor, side: int | None = None, quality: int = 88) -> Embedded:
    """Return a picture (H, W, 3), sRGB 0 to 1, as a JPEG, scaled to at most ``side`` pixels."""
    from PIL import Image

    scale = 1.0 if side is None else side / max(picture.shape[:2])
    if scale < 1:
        size = (max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale)))
        picture = F.interpolate(picture.permute(2, 0, 1)[None], size=size, mode="area")[0].permute(1, 2, 0)
    array = (picture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format="JPEG", quality=quality)
    url = f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
    return Embedded(url, picture.shape[1], picture.shape[0])


def beside(pictures: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return pictures of one size side by side."""
    return torch.cat(list(pictures), 1)


def marks(keypoints: Keypoints) -> Iterator[tuple[str, str, str]]:
    """Yield SVG path, color and stroke width of each detected set of landmarks, in the picture's pixels."""
    width, height = keypoints.width, keypoints.height
    for name, at in keypoints.points.items():
        seen = at[(keypoints.scores[name] >= 0.5) & (at >= 0).all(1) & (at[:, 0] < width) & (at[:, 1] < height)]
        color = next((hue for start, hue in _HUES.items() if name.startswith(start)), "#f06595")
        stroke = max(width, height) / 80 * (0.35 if len(at) > 100 else 1.0)
        yield "".join(f"M{x:.1f} {y:.1f}h0" for x, y in seen), color, f"{stroke:.2f}"


def numeric_columns(rows: Sequence[Sequence[str]]) -> list[bool]:
    """Return which columns of a table hold nothing but numbers."""
    return [all(text.replace(".", "", 1).isdigit() for text in column) for column in zip(*rows, strict=True)]


@dataclass(frozen=True)
class Curve:
    """One term of the loss on its own logarithmic scale.

    Attributes:
        raw, smooth: points of SVG polylines, 400 wide and 100 high.
        start, end: averages at both ends.
        low, high: smallest and largest value.
    """

    raw: str
    smooth: str
    start: str
    end: str
    low: str
    high: str


def curve(points: Sequence[tuple[int, float]], steps: int) -> Curve | None:
    """Return the curve of (step, value) over all steps; None if all values are zero."""
    values = [abs(v) for _, v in points]
    positive = [v for v in values if v > 1e-8]
    if not positive:
        return None
    low, high = math.log10(min(positive)), math.log10(max(positive))
    span = max(high - low, 0.05)
    smooth = [statistics.fmean(values[max(0, i - _WINDOW + 1) : i + 1]) for i in range(len(values))]

    def line(series: Sequence[float]) -> str:
        y = [100 - 96 * (math.log10(max(v, 1e-8)) - low) / span for v in series]
        return " ".join(f"{400 * s / max(steps, 1):.1f},{min(v, 100):.1f}" for (s, _), v in zip(points, y, strict=True))

    shown = (smooth[min(len(smooth) - 1, _WINDOW - 1)], smooth[-1], min(positive), max(positive))
    return Curve(line(values), line(smooth), *(f"{v:.2g}" for v in shown))
