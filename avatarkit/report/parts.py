"""Parts of ``report.html`` as text: pictures, tables, curves."""

from __future__ import annotations

import base64
import io
import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from avatarkit.utils.text import escaped

__all__ = ["chart", "dots", "figure", "image", "jpeg", "limited", "section", "slider", "table", "turntable"]

_WINDOW = 9  # values of a curve that are averaged
_HUES = {"face": "#22b8cf", "hand": "#ff922b", "pose": "#fcc419"}  # colors of landmark sets, by the beginning of their names


def section(title: str, body: str, note: str = "") -> str:
    """Return a heading, an explaining sentence and the content."""
    said = f"<p class=soft>{escaped(note)}</p>" if note else ""
    return f"<section><h2>{escaped(title)}</h2>{said}{body}</section>"


def limited(picture: torch.Tensor, side: int) -> torch.Tensor:
    """Return a picture (H, W, 3) scaled to at most ``side`` pixels."""
    scale = side / max(picture.shape[:2])
    if scale >= 1:
        return picture
    size = (max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale)))
    return F.interpolate(picture.permute(2, 0, 1)[None], size=size, mode="area")[0].permute(1, 2, 0)


def jpeg(picture: torch.Tensor, quality: int = 88) -> str:
    """Return a picture (H, W, 3), sRGB 0 to 1, as a data URL."""
    from PIL import Image

    array = (picture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format="JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def image(picture: torch.Tensor, alt: str, side: int = 900) -> str:
    """Return an <img> with the picture embedded."""
    small = limited(picture, side)
    size = f'width="{small.shape[1]}" height="{small.shape[0]}"'
    return f'<img src="{jpeg(small)}" alt="{escaped(alt)}" {size}>'


def figure(picture: torch.Tensor, alt: str, caption: str, side: int = 640, over: str = "") -> str:
    """Return a picture with a caption; ``over`` is drawn on top."""
    return (
        f'<figure><div class="stacked">{image(picture, alt, side)}{over}</div>'
        f"<figcaption>{escaped(caption)}</figcaption></figure>"
    )


def dots(points: Mapping[str, np.ndarray], scores: Mapping[str, np.ndarray], width: int, height: int) -> str:
    """Return the detected landmarks as an SVG in the picture's pixels."""
    radius, drawn = max(width, height) / 160, []
    for name, at in points.items():
        seen = at[(scores[name] >= 0.5) & (at >= 0).all(1) & (at[:, 0] < width) & (at[:, 1] < height)]
        color = next((hue for start, hue in _HUES.items() if name.startswith(start)), "#f06595")
        size = radius * (0.35 if len(at) > 100 else 1.0)
        path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in seen)
        drawn.append(f'<path d="{path}" stroke="{color}" stroke-width="{2 * size:.2f}" stroke-linecap="round"/>')
    return f'<svg viewBox="0 0 {width} {height}" aria-hidden="true">{"".join(drawn)}</svg>'


def slider(before: torch.Tensor, after: torch.Tensor) -> str:
    """Return photo and avatar on top of each other, with a handle to compare them."""
    return (
        f'<div class="slider">{image(after, "The avatar in the pose of the photo.")}'
        f'<div class="over">{image(before, "The person in the photo.")}</div><span class="bar"></span>'
        '<span class="tag" style="left:.5rem">photo</span><span class="tag" style="right:.5rem">avatar</span>'
        '<input type="range" min="0" max="100" value="50" aria-label="How much of the picture shows the photo"></div>'
    )


def turntable(views: Sequence[torch.Tensor], degrees: Sequence[float]) -> str:
    """Return views side by side in one picture; a range input selects the visible one."""
    height, width = views[0].shape[:2]
    step = degrees[1] - degrees[0]
    return (
        f'<div class="turn"><div class="sprite" role="img" aria-label="The avatar, turned" style="aspect-ratio:{width}/{height};'
        f'background-image:url({jpeg(torch.cat(list(views), 1), 84)});background-position-x:50%"></div>'
        f'<input type="range" min="{degrees[0]:g}" max="{degrees[-1]:g}" step="{step:g}" value="0" '
        'aria-label="Turn the avatar, degrees"></div>'
    )


def table(rows: Sequence[Sequence[str]], head: Sequence[str], name: str, raw: Sequence[int] = ()) -> str:
    """Return a table that scrolls if it is too wide.

    Columns in ``raw`` are HTML; columns of numbers are right-aligned.
    """
    numbers = [all(row[k].replace(".", "", 1).isdigit() for row in rows) for k in range(len(head))]
    kinds = [" class=number" if yes else "" for yes in numbers]

    def cell(k: int, text: str) -> str:
        return f"<td{kinds[k]}>{text if k in raw else escaped(text)}</td>"

    lines = "".join("<tr>" + "".join(cell(k, text) for k, text in enumerate(row)) + "</tr>" for row in rows)
    heads = "".join(f'<th scope="col"{kinds[k]}>{escaped(h)}</th>' for k, h in enumerate(head))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escaped(name)}">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def chart(name: str, points: Sequence[tuple[int, float]], steps: int) -> str:
    """Return one curve over the steps with its average, on its own logarithmic scale.

    Empty if all values are zero.
    """
    values = [abs(v) for _, v in points]
    positive = [v for v in values if v > 1e-8]
    if not positive:
        return ""
    low, high = math.log10(min(positive)), math.log10(max(positive))
    span = max(high - low, 0.05)
    smooth = [statistics.fmean(values[max(0, i - _WINDOW + 1) : i + 1]) for i in range(len(values))]

    def line(series: Sequence[float], kind: str) -> str:
        y = [100 - 96 * (math.log10(max(v, 1e-8)) - low) / span for v in series]
        at = " ".join(f"{400 * s / max(steps, 1):.1f},{min(v, 100):.1f}" for (s, _), v in zip(points, y, strict=True))
        return f'<polyline class="{kind}" points="{at}"/>'

    start, end = smooth[min(len(smooth) - 1, _WINDOW - 1)], smooth[-1]
    words = f"{start:.2g} to {end:.2g}"
    return (
        f'<figure class="card chart"><figcaption>{escaped(name)} <b>{start:.2g} &rarr; {end:.2g}</b></figcaption>'
        f'<svg viewBox="0 0 400 102" preserveAspectRatio="none" role="img" aria-label="{escaped(name)}: {words} '
        f'over {steps} steps, between {min(positive):.2g} and {max(positive):.2g}">{line(values, "raw")}{line(smooth, "smooth")}'
        "</svg></figure>"
    )
