"""Writes ``report.html``: one self-contained page with pictures, measurements and advice."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from avatarkit.animation import LoadedAvatar
from avatarkit.appearance.parsing import colored, parse, vertex_labels
from avatarkit.interfaces import Subject
from avatarkit.io.image import overlay
from avatarkit.report.parts import chart, dots, figure, image, jpeg, section, slider, table, turntable
from avatarkit.training.loop import TrainingReport
from avatarkit.types.mesh import Mesh
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.subject import Notice
from avatarkit.utils.text import escaped, one_line

__all__ = ["advice", "render_report"]

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
    title = escaped(one_line(Path(subject.photo.name).stem or "avatar"))
    sections = [
        f"<header><h1>{title}</h1><p>A synthetic avatar, made from one photo with avatarkit. Show it only as a synthetic "
        f"avatar and with the person's consent.</p>{_facts(avatar, manifest)}</header>",
        _hero(subject, avatar, previews),
        _warnings(subject.quality.warnings),
        _tracking(subject, avatar),
        _labels(clips) if clips else "",
        _curves(training),
        _numbers(manifest),
        _stages(manifest),
        _origin(manifest),
    ]
    return _page(title, "\n".join(s for s in sections if s))


def _page(title: str, body: str) -> str:
    """Return the page around sections of HTML.

    Its policy allows only its own script to run.
    """
    page = resources.files("avatarkit.report").joinpath("page.html").read_text(encoding="utf-8")
    script = page[page.index("<script>") + len("<script>") : page.index("</script>")]
    source = f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
    filled = {"TITLE": title, "TURNS": str(len(_TURNS)), "BODY": body, "SCRIPT": source}
    return re.sub("@([A-Z]+)@", lambda match: filled[match[1]], page)


def advice(notices: Sequence[Notice]) -> list[str]:
    """Return the advice for these notices, each item once."""
    codes = {notice.code for notice in notices}
    return [text for code, text in _ADVICE.items() if code in codes]


# ------------------------------------------------------------------------------------------------------------- sections


def _facts(avatar: LoadedAvatar, manifest: Mapping[str, Any]) -> str:
    seconds = sum(stage["seconds"] for stage in manifest["stages"].values())
    facts = [
        f"preset {manifest['recipe']['name']}" if manifest["recipe"].get("name") else "",
        avatar.contents.replace(",", " "),
        f"made in {_duration(seconds)} on {manifest['device']}",
        f"avatarkit {manifest['avatarkit']}",
    ]
    return '<ul class="facts">' + "".join(f"<li>{escaped(f)}</li>" for f in facts if f) + "</ul>"


def _hero(subject: Subject, avatar: LoadedAvatar, previews: Path) -> str:
    """Return the section with photo and avatar, video and turntable."""
    alpha = subject.matte.alpha[..., None]
    shown = avatar.render(camera=subject.camera)[..., :3]
    width, height = avatar.default_size(360)
    views = [avatar.render(yaw=yaw, width=width, height=height)[..., :3] for yaw in _TURNS]
    film = base64.b64encode((previews / "preview.mp4").read_bytes()).decode()
    blocks = {
        "Photo and avatar": slider(subject.photo.image * alpha + (1 - alpha), shown)
        + "<p class=soft>Drag the handle, or move it with the arrow keys.</p>",
        "In motion": f'<video controls loop muted playsinline poster="{jpeg(views[len(views) // 2])}" '
        f'src="data:video/mp4;base64,{film}" aria-label="Video: the avatar talks while the camera turns around it"></video>',
        "From other sides": turntable(views, _TURNS)
        + "<p class=soft>Drag to turn. The photo shows one side; the other sides are a plausible guess.</p>",
    }
    inside = "".join(f"<section><h2>{name}</h2>{block}</section>" for name, block in blocks.items())
    return f'<div class="hero">{inside}</div>'


def _warnings(notices: Sequence[Notice]) -> str:
    if not notices:
        return ""
    items = "".join(f"<li>{escaped(notice.text)}</li>" for notice in notices)
    helps = "".join(f"<li>{escaped(text)}</li>" for text in advice(notices))
    better = f"<h3>How to improve it</h3><ul>{helps}</ul>" if helps else ""
    return f'<section class="card warnings" style="margin-top:2rem"><h2>Worth knowing</h2><ul>{items}</ul>{better}</section>'


def _tracking(subject: Subject, avatar: LoadedAvatar) -> str:
    photo, keypoints = subject.photo.image, subject.keypoints
    alpha = subject.matte.alpha[..., None]
    vertices = avatar.body.vertices(subject.params, subject.vertex_offsets)[0]
    fitted = overlay(photo, avatar.renderer, Mesh(vertices, avatar.body.faces), subject.camera)
    labels = vertex_labels(avatar.body, subject.params.shape)
    parts = colored(parse(subject, vertices, labels, avatar.body, avatar.renderer), photo)
    marks = dots(keypoints.points, keypoints.scores, keypoints.width, keypoints.height)
    count = sum(len(points) for points in keypoints.points.values())
    figures = [
        figure(photo, "The photo with the detected landmarks.", f"{count} landmarks", over=marks),
        figure(subject.matte.foreground * alpha + (1 - alpha), "The person, cut out.", "cut out"),
        figure(fitted, "The fitted body over the photo.", "the fitted body"),
        figure(parts, "The photo, each part of the person in a color of its own.", "what each pixel was taken for"),
    ]
    note = "If one of these pictures is wrong, all later steps are wrong too; use another photo."
    return section("How the photo was read", f'<div class="grid" style="--cell:17rem">{"".join(figures)}</div>', note)


def _labels(clips: Sequence[LabelClip]) -> str:
    """Return a contact sheet with some frames of each clip."""
    sheets = []
    for clip in clips:
        frames = []
        for index in torch.linspace(0, len(clip) - 1, min(_PER_CLIP, len(clip))).round().int().tolist():
            alpha = clip.alpha[index].float()[..., None] / 255
            picture = clip.frames[index].float() / 255 * alpha + (1 - alpha)
            frames.append(image(picture, f"{clip.region}, {clip.name}, frame {index}", 240))
        person = clip.alpha[:, ::4, ::4] > 127  # a sixteenth of the pixels is enough for a mean
        trust = float(clip.confidence[:, ::4, ::4][person].float().mean()) / 255 if person.any() else 0.0
        caption = f"{clip.region}: {clip.name} · {len(clip)} frames · trusted {trust:.0%}"
        sheet = f'<div class="sheet">{"".join(frames)}</div><figcaption>{escaped(caption)}</figcaption>'
        sheets.append(f'<figure class="card">{sheet}</figure>')
    note = "Generated pictures of the person in other poses; the avatar was fitted to them in proportion to their confidence."
    return section("Pseudo-labels", f'<div class="grid" style="--cell:22rem">{"".join(sheets)}</div>', note)


def _curves(training: TrainingReport) -> str:
    charts = "".join(chart(_LOSSES.get(name, name), points, training.steps) for name, points in training.curves.items())
    if not charts:
        return ""
    note = f"{training.steps} steps. Each weighted term of the loss, on its own logarithmic scale; lower is better."
    return section("Training", f'<div class="grid">{charts}</div>', note)


def _numbers(manifest: Mapping[str, Any]) -> str:
    rows = []
    for name, value in manifest["metrics"].items():
        title, factor, digits, unit, meaning = _MEASURES.get(name, (name.replace("_", " "), 1, 3, "", ""))
        rows.append((title, f"{value * factor:.{digits}f}", unit, meaning))
    return section("Numbers", table(rows, ("what", "value", "", "meaning"), "Measures")) if rows else ""


def _stages(manifest: Mapping[str, Any]) -> str:
    """Return the table of seconds and memory; clips of the same kind share a row."""
    together: dict[str, list[float]] = {}
    for name, stage in manifest["stages"].items():
        entry = together.setdefault(re.sub(r"-\d+$", "", name).replace("-", " "), [0.0, 0.0, 0])
        entry[0] += stage["seconds"]
        entry[1] = max(entry[1], stage["peak_memory_mb"])
        entry[2] += 1
    longest = max((entry[0] for entry in together.values()), default=1.0) or 1.0
    rows = [
        (f"{name} ({count:g})" if count > 1 else name, f"{seconds:.1f}", f"{memory:.0f}",
         f'<div class="meter" style="--part:{100 * seconds / longest:.1f}%"></div>')
        for name, (seconds, memory, count) in together.items()
    ]  # fmt: skip
    return section("Time and memory", table(rows, ("stage", "seconds", "peak MB", ""), "Time and memory of the stages", raw=(3,)))


def _origin(manifest: Mapping[str, Any]) -> str:
    words = {True: "yes", False: "no", None: "ask the source"}
    rows = [(k, v["code"], v["weights"], words[v["commercial"]]) for k, v in manifest["licenses"].items()]
    consent = manifest.get("consent") or "not recorded (use --consent when you build)"
    head = ("component", "code", "weights or data", "commercial use")
    said = (
        f"<p>Consent: {escaped(consent)}</p>"
        f"<p class=soft>Seed {escaped(manifest['seed'])}; manifest.json holds the whole recipe.</p>"
    )
    return section("Where it comes from", said + table(rows, head, "Licenses of the components"))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
