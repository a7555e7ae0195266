"""``report.html``: one self-contained page that a person likes to read."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from avatarkit.animation import LoadedAvatar
from avatarkit.interfaces import Subject
from avatarkit.labels import LabelClip
from avatarkit.mesh import Mesh
from avatarkit.pictures import overlay
from avatarkit.training import TrainingReport

__all__ = ["render_report"]

_COLORS = ("#0b7285", "#c2255c", "#5f3dc4", "#2b8a3e", "#e8590c", "#1864ab", "#846358", "#495057")


def render_report(
    subject: Subject,
    clips: Sequence[LabelClip],
    training: TrainingReport,
    avatar: LoadedAvatar,
    manifest: Mapping[str, Any],
    previews: Path,
) -> str:
    """The page as text; pictures and film are inside.

    Args:
        subject: tracked photo. clips: labels. training: curves. avatar: finished. manifest: facts.
        previews: folder with ``preview.mp4``.
    """
    photo = subject.photo.image
    shown = avatar.render(camera=subject.camera, background="#ffffff")[..., :3]
    alpha = subject.matte.alpha[..., None]
    cut = subject.matte.foreground * alpha + (1 - alpha)
    vertices = avatar.body.vertices(subject.params, subject.vertex_offsets)[0]
    fitted = overlay(photo, avatar.renderer, Mesh(vertices, avatar.body.faces), subject.camera)
    size = avatar.default_size(360)
    turns = [avatar.render(yaw=yaw, width=size[0], height=size[1])[..., :3] for yaw in (-40, -20, 0, 20, 40)]
    video = base64.b64encode((previews / "preview.mp4").read_bytes()).decode()
    sections = [
        _warnings(manifest),
        _section("Photo and avatar", _slider(photo * alpha + (1 - alpha), shown)),
        _section(
            "In motion",
            f'<video controls loop muted playsinline src="data:video/mp4;base64,{video}" '
            'aria-label="The avatar talks while the camera turns"></video>',
        ),
        _section("From other sides", _row(turns, [f"turned by {y} degrees" for y in (-40, -20, 0, 20, 40)])),
        _section("How the photo was read", _row([cut, fitted], ["cut out", "fitted body over the photo"])),
        _section("Pseudo-labels", _labels(clips)) if clips else "",
        _section("Training", _curves(training)) if training.curves else "",
        _section("Numbers", _table(_numbers(manifest), ("what", "value"))),
        _section("Time and memory", _table(_stages(manifest), ("stage", "seconds", "peak MB"))),
        _section("Licences", _table(_licences(manifest), ("component", "code", "weights or data", "commercial use"))),
    ]
    title = html.escape(Path(subject.photo.name).stem or "avatar")
    return _PAGE.replace("@TITLE@", title).replace("@BODY@", "\n".join(s for s in sections if s))


# ------------------------------------------------------------------------------------------------------------- sections


def _section(title: str, body: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{body}</section>"


def _warnings(manifest: Mapping[str, Any]) -> str:
    items = "".join(f"<li>{html.escape(w)}</li>" for w in manifest["warnings"])
    return f'<section class="warnings"><h2>Worth knowing</h2><ul>{items}</ul></section>' if items else ""


def _slider(before: torch.Tensor, after: torch.Tensor) -> str:
    """Photo and avatar on top of each other, divided by a handle that keys and fingers move."""
    return (
        '<div class="slider">'
        f"{_img(after, 'the avatar in the pose of the photo')}"
        f'<div class="over">{_img(before, "the person in the photo")}</div>'
        '<input type="range" min="0" max="100" value="50" aria-label="Part of the picture that shows the photo" '
        "oninput=\"this.parentNode.style.setProperty('--cut', this.value + '%')\"></div>"
        "<p>Left of the handle: the photo. Right of it: the avatar.</p>"
    )


def _labels(clips: Sequence[LabelClip]) -> str:
    images, names = [], []
    for clip in clips:
        for index in (0, len(clip) // 2):
            alpha = clip.alpha[index].float()[..., None] / 255
            images.append(clip.frames[index].float() / 255 * alpha + (1 - alpha))
            names.append(f"{clip.region}: {clip.name}, frame {index}")
    return _row([_limited(i, 240) for i in images], names)


def _curves(training: TrainingReport) -> str:
    """All terms over the steps, on a logarithmic scale, as an SVG."""
    width, height = 640, 220
    values = [abs(v) for points in training.curves.values() for _, v in points if abs(v) > 1e-8]
    if not values:
        return ""
    low, high = torch.tensor([min(values), max(values)]).log10().tolist()
    span, steps = max(high - low, 1e-6), max(training.steps, 1)
    lines, legend = [], []
    for k, (name, points) in enumerate(training.curves.items()):
        color = _COLORS[k % len(_COLORS)]
        path = " ".join(
            f"{s / steps * width:.1f},{height - (float(torch.tensor(max(abs(v), 1e-8)).log10()) - low) / span * height:.1f}"
            for s, v in points
        )
        lines.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        legend.append(f'<span style="color:{color}">&#9632; {html.escape(name)}</span>')
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Weighted loss terms over {steps} steps, '
        f'logarithmic scale">{"".join(lines)}</svg><p class="legend">{" ".join(legend)}</p>'
    )


def _numbers(manifest: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [(k.replace("_", " "), f"{v:.3g}") for k, v in manifest["metrics"].items()]


def _stages(manifest: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [(k, f"{v['seconds']:.1f}", f"{v['peak_memory_mb']:.0f}") for k, v in manifest["stages"].items()]


def _licences(manifest: Mapping[str, Any]) -> list[tuple[str, ...]]:
    words = {True: "yes", False: "no", None: "ask the source"}
    return [(k, v["code"], v["weights"], words[v["commercial"]]) for k, v in manifest["licences"].items()]


# ---------------------------------------------------------------------------------------------------------------- parts


def _table(rows: Sequence[Sequence[str]], head: Sequence[str]) -> str:
    cells = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><tr>{''.join(f'<th>{html.escape(h)}</th>' for h in head)}</tr>{cells}</table>"


def _row(images: Sequence[torch.Tensor], names: Sequence[str]) -> str:
    figures = "".join(
        f"<figure>{_img(image, name)}<figcaption>{html.escape(name)}</figcaption></figure>"
        for image, name in zip(images, names, strict=True)
    )
    return f'<div class="row">{figures}</div>'


def _limited(image: torch.Tensor, side: int) -> torch.Tensor:
    scale = side / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale)))
    return F.interpolate(image.permute(2, 0, 1)[None], size=size, mode="area")[0].permute(1, 2, 0)


def _img(image: torch.Tensor, alt: str) -> str:
    """JPEG inside the page, at most 900 pixels."""
    from PIL import Image

    array = (_limited(image.detach().cpu(), 900).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format="JPEG", quality=90)
    data = base64.b64encode(stream.getvalue()).decode()
    return (
        f'<img src="data:image/jpeg;base64,{data}" alt="{html.escape(alt)}" width="{array.shape[1]}" '
        f'height="{array.shape[0]}">'
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>@TITLE@ - avatarkit</title>
<style>
:root { color-scheme: light dark; --ink: #1c1c1e; --paper: #fbfaf8; --line: #d9d6d0; --accent: #0b7285; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececec; --paper: #17181a; --line: #3a3b3e; --accent: #66d9e8; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 62rem; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.8rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .7rem; }
img, video, svg { max-width: 100%; height: auto; border-radius: 8px; display: block; }
.row { display: flex; gap: .7rem; overflow-x: auto; padding-bottom: .4rem; }
figure { margin: 0; flex: 0 0 auto; width: min(15rem, 60vw); } figcaption { font-size: .8rem; opacity: .8; }
.slider { position: relative; width: fit-content; max-width: 100%; --cut: 50%; }
.slider .over { position: absolute; inset: 0; clip-path: inset(0 calc(100% - var(--cut)) 0 0); }
.slider input { position: absolute; inset: auto 0 .6rem; width: 96%; margin: 0 2%; accent-color: var(--accent); }
table { border-collapse: collapse; font-size: .9rem; } td, th { border-bottom: 1px solid var(--line);
  padding: .3rem .9rem .3rem 0; text-align: left; vertical-align: top; }
.warnings { border-left: 4px solid #e8590c; padding-left: 1rem; } .legend span { margin-right: 1rem; font-size: .85rem; }
</style></head><body>
<h1>@TITLE@</h1>
<p>A synthetic avatar, made from one photo with avatarkit. Show it as what it is, and only with the person's consent.</p>
@BODY@
</body></html>
"""
