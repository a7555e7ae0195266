"""Writes ``report.html``: one self-contained page with pictures, measurements and advice."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import markupsafe
import torch

from avatarkit.animation import LoadedAvatar
from avatarkit.appearance.parsing import colored
from avatarkit.appearance.shared_painter import shared_parsing
from avatarkit.interfaces import Subject
from avatarkit.io.image import on_white, overlay
from avatarkit.report.parts import beside, curve, embedded, marks, numeric_columns
from avatarkit.training.loop import TrainingReport
from avatarkit.types.mesh import Mesh
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.subject import Notice
from avatarkit.utils.html import templates
from avatarkit.utils.text import duration, one_line

if TYPE_CHECKING:
    import jinja2

__all__ = ["advice", "environment", "facts_of", "page", "render_report"]

_TURNS = tuple(7.5 * k for k in range(-6, 7))  # degrees
_PER_CLIP = 4  # frames of each clip on the contact sheet
_LOSSES = {
    "rgb": "colors", "ssim": "structure", "alpha": "outline", "perceptual": "perceptual distance", "laplacian": "smoothness",
    "normal": "surface normals", "mesh-mask": "outline of the mesh", "consistency": "mesh and Gaussians together",
}  # fmt: skip
# Metric -> label, factor, digits, unit, explanation.
_MEASURES = {
    "psnr_matte": ("likeness to the photo", 1, 1, "dB", "the avatar in the photo's pose against the photo; above 25 is close"),
    "silhouette_iou": ("outline of the avatar", 100, 0, "%", "the same for the finished avatar"),
    "mask_iou": ("outline of the fitted body", 100, 0, "%", "overlap of mesh and cut-out; above 90 is good"),
    "mask_iou_without_offsets": ("outline of the bare body", 100, 0, "%", "before clothes and hair were added to its shape"),
    "face_error_percent_head": ("landmarks of the face", 1, 1, "% of the head", "how far they are off; below 3 is good"),
    "body_error_percent_head": ("joints of the body", 1, 1, "% of the head", "how far they are off; below 10 is good"),
    "head_pixels": ("head in the photo", 1, 0, "pixels high", "more pixels, more likeness; 200 are plenty"),
}
# Topic of a warning -> advice.
_ADVICE = {
    "hands": "Take a photo with both hands open and in view: visible parts need not be guessed.",
    "arms": "Hold the arms a little away from the body, elbows inside the picture.",
    "legs": "For a whole body step back until the feet are in the picture; for talking, head to hips is enough.",
    "face": "Look straight into the camera, with the whole face in view and no hair or hands in front of it.",
    "size": "Come closer or use a larger photo: the face should be at least 200 pixels high.",
    "light": "Soft light from the front helps most: a window, not a lamp from above.",
    "focus": "Hold the camera still and let it focus on the eyes.",
    "outline": "Use a plain background whose color differs from clothes and hair.",
}
"""Code of a notice -> advice."""


def render_report(
    subject: Subject,
    clips: Sequence[LabelClip],
    training: TrainingReport,
    avatar: LoadedAvatar,
    manifest: Mapping[str, Any],
    previews: Path,
) -> str:
    """Return the page as text.

    Pictures and video are embedded, and the page's policy forbids it to load anything else.

    Args:
        subject: the tracked photo.
        clips: the labels.
        training: the training curves.
        avatar: the finished avatar.
        manifest: its manifest.
        previews: folder with ``preview.mp4``.
    """
    shown = facts_of(manifest, subject.quality.warnings, avatar.contents.replace(",", " "))
    curves = {_LOSSES.get(name, name): curve(points, training.steps) for name, points in training.curves.items()}
    return page(
        one_line(Path(subject.photo.name).stem or "avatar"),
        hero=_hero(subject, avatar, previews),
        figures=_figures(subject, avatar),
        keypoints=subject.keypoints,
        sheets=[_sheet(clip) for clip in clips],
        steps=training.steps,
        curves={name: found for name, found in curves.items() if found},
        **shown,
    )


def environment() -> jinja2.Environment:
    """Return the templates of the page, with the filters that they use."""
    found = templates("avatarkit.report")
    found.filters |= {f.__name__: f for f in (beside, embedded, marks, numeric_columns)}
    return found


def page(title: str, **shown: Any) -> str:
    """Return the page that shows these values, see ``templates/page.html``; sections without a value are left out.

    Its policy allows only its own script to run.
    """
    found = environment()
    script = resources.files("avatarkit.report").joinpath("templates/page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    empty = dict.fromkeys(("hero", "figures", "sheets", "curves"))
    shown = {**empty, **shown, "title": title, "script": markupsafe.Markup(script), "script_digest": digest}
    return found.get_template("page.html").render(shown)


def advice(notices: Sequence[Notice]) -> list[str]:
    """Return the advice for these notices, each item once."""
    codes = {notice.code for notice in notices}
    return [text for code, text in _ADVICE.items() if code in codes]


# ---------------------------------------------------------------------------------------------------- what is shown


def facts_of(manifest: Mapping[str, Any], notices: Sequence[Notice], contents: str) -> dict[str, Any]:
    """Return what the page says in words and tables."""
    words = {True: "yes", False: "no", None: "ask the source"}
    preset, seconds = manifest["recipe"].get("name"), sum(stage["seconds"] for stage in manifest["stages"].values())
    made = f"made in {duration(seconds)} on {manifest['device']}"
    return {
        "facts": [*([f"preset {preset}"] if preset else []), contents, made, f"avatarkit {manifest['avatarkit']}"],
        "notices": [notice.text for notice in notices],
        "advice": advice(notices),
        "numbers": [_number(name, value) for name, value in manifest["metrics"].items()],
        "stages": list(_stages(manifest)),
        "card": manifest,
        "consent": manifest.get("consent") or "not recorded (use --consent when you build)",
        "seed": manifest["seed"],
        "licenses": [(k, v["code"], v["weights"], words[v["commercial"]]) for k, v in manifest["licenses"].items()],
    }


def _hero(subject: Subject, avatar: LoadedAvatar, previews: Path) -> dict[str, Any]:
    """Return photo and avatar, video and turntable."""
    width, height = avatar.default_size(360)
    return {
        "photo": on_white(subject.photo.image, subject.matte.alpha),
        "shown": avatar.render(camera=subject.camera)[..., :3],
        "film": base64.b64encode((previews / "preview.mp4").read_bytes()).decode(),
        "views": [avatar.render(yaw=yaw, width=width, height=height)[..., :3] for yaw in _TURNS],
        "degrees": _TURNS,
    }


def _figures(subject: Subject, avatar: LoadedAvatar) -> list[tuple[torch.Tensor, str, str]]:
    """Return pictures of how the photo was read, with their descriptions and captions; landmarks are drawn on the first."""
    photo = subject.photo.image
    vertices = avatar.body.vertices(subject.params, subject.vertex_offsets)[0]
    fitted = overlay(photo, avatar.renderer, Mesh(vertices, avatar.body.faces), subject.camera)
    parts = colored(shared_parsing(subject, avatar.body, avatar.renderer), photo)
    count = sum(len(points) for points in subject.keypoints.points.values())
    return [
        (photo, "The photo with the detected landmarks.", f"{count} landmarks"),
        (on_white(subject.matte.foreground, subject.matte.alpha), "The person, cut out.", "cut out"),
        (fitted, "The fitted body over the photo.", "the fitted body"),
        (parts, "The photo, each part of the person in a color of its own.", "what each pixel was taken for"),
    ]


def _sheet(clip: LabelClip) -> tuple[str, list[tuple[torch.Tensor, str]]]:
    """Return a caption and some frames of a clip with their descriptions."""
    frames = []
    for index in torch.linspace(0, len(clip) - 1, min(_PER_CLIP, len(clip))).round().int().tolist():
        picture = on_white(clip.frames[index].float() / 255, clip.alpha[index].float() / 255)
        frames.append((picture, f"{clip.region}, {clip.name}, frame {index}"))
    person = clip.alpha[:, ::4, ::4] > 127  # a sixteenth of the pixels is enough for a mean
    trust = float(clip.confidence[:, ::4, ::4][person].float().mean()) / 255 if person.any() else 0.0
    return f"{clip.region}: {clip.name} · {len(clip)} frames · trusted {trust:.0%}", frames


def _number(name: str, value: float) -> tuple[str, str, str, str]:
    """Return a measure as a row: what, value, unit, meaning."""
    title, factor, digits, unit, meaning = _MEASURES.get(name, (name.replace("_", " "), 1, 3, "", ""))
    return title, f"{value * factor:.{digits}f}", unit, meaning


def _stages(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield rows of seconds and memory; clips of the same kind share a row."""
    together: dict[str, list[float]] = {}
    for name, stage in manifest["stages"].items():
        entry = together.setdefault(re.sub(r"-\d+$", "", name).replace("-", " "), [0.0, 0.0, 0])
        entry[0] += stage["seconds"]
        entry[1] = max(entry[1], stage["peak_memory_mb"])
        entry[2] += 1
    longest = max((entry[0] for entry in together.values()), default=1.0) or 1.0
    for name, (seconds, memory, count) in together.items():
        title = f"{name} ({count:g})" if count > 1 else name
        yield title, f"{seconds:.1f}", f"{memory:.0f}", f"{100 * seconds / longest:.1f}%"
