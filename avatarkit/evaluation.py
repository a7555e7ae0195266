"""Self-driven reenactment (paper, section 4.2): one frame of a clip is the photo, the others are the truth.

Beside the avatar stand two baselines of the same run: ``still``, the photo held still, and ``mesh``, the fitted mesh with the
photo's colours and no training. An avatar that does not beat both has failed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatarkit.animation import LoadedAvatar, load
from avatarkit.body import BodyParams
from avatarkit.bundle import workspace
from avatarkit.components import Components
from avatarkit.config import Recipe
from avatarkit.errors import InputError
from avatarkit.interfaces import Subject
from avatarkit.keypoints import Keypoints
from avatarkit.mesh import Mesh
from avatarkit.photo import photo_from_array
from avatarkit.pictures import save_png
from avatarkit.pipeline import build, load_tracked_subject
from avatarkit.progress import Progress, SilentProgress
from avatarkit.registry import Registry
from avatarkit.store import write_json
from avatarkit.texture import sample_texture, texture_from_photo
from avatarkit.video import VideoWriter, probe, read_frames

__all__ = ["METHODS", "METRICS", "evaluate"]

log = logging.getLogger("avatarkit.evaluation")

METHODS = ("avatar", "still", "mesh")
METRICS = ("mse", "l1", "psnr", "ssim", "lpips")
_REGIONS = {"face": ("face478",), "hands": ("hand21_left", "hand21_right")}
_LONGEST = 300
"""Frames of a clip that are tracked, at most; the rest is left out."""


@dataclass(frozen=True)
class _Truth:
    """One frame to compare with: composited on white (H, W, 3), and windows (x0, y0, x1, y1) of its regions."""

    index: int
    image: torch.Tensor
    windows: dict[str, list[tuple[int, int, int, int]]]


def evaluate(
    video: Path,
    output: Path,
    *,
    recipe: Recipe,
    registry: Registry | None = None,
    frames: int = 24,
    photo_frame: int = 0,
    device: str = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Builds an avatar from one frame and compares it with the others.

    Args:
        video: the clip, of one person, by a camera that stands still.
        output: folder for ``result.json``, ``comparison.mp4``, ``comparison.png`` and the avatar.
        recipe: of the avatar. frames: how many to compare, spread evenly. photo_frame: number of the frame that is the photo.

    Returns:
        What ``result.json`` holds: ``clip``, ``perceptual`` (exact name of the metric behind ``lpips``), ``methods``: for each of
        ``METHODS`` the mean of each of ``METRICS``, and the same per region under ``regions``.

    Raises:
        InputError: the clip is too short, or nobody can be tracked.
    """
    registry, progress = registry or Registry.load(), progress or SilentProgress()
    info, clip = probe(video), [image for _, image in _limited(read_frames(video, max_side=1080))]
    if photo_frame >= len(clip) or len(clip) < 2:
        raise InputError(f"{video.name} has {len(clip)} frames: too few to take frame {photo_frame} as the photo.")
    output.mkdir(parents=True, exist_ok=True)
    save_png(output / "photo.png", torch.from_numpy(clip[photo_frame]).float() / 255)
    folder = build(
        output / "photo.png", output / "person.avatar", recipe=recipe, registry=registry, device=device, seed=seed,
        progress=progress,
    )  # fmt: skip
    avatar = load(folder, registry, device)
    subject = load_tracked_subject(workspace(folder), avatar.manifest)

    with progress.stage("track the clip"):
        get = avatar.components.get
        keypoints = list(get("keypoints").detect_video(iter(clip)))
        if sum(k is not None for k in keypoints) < 2:
            raise InputError(f"Nobody can be tracked in {video.name}.")
        motion = get("tracker").track(keypoints, subject, info.fps)
    with progress.stage("compare"):
        chosen = _spread([i for i, k in enumerate(keypoints) if k is not None and i != photo_frame], frames)
        truths = [_truth(i, clip[i], keypoints[i], avatar.components) for i in chosen]
        drawn = _draw(avatar, subject, motion.params, chosen, progress.update)
        metric = _perceptual(avatar.components)
        result = {
            "clip": {
                "name": video.name, "width": info.width, "height": info.height, "fps": info.fps, "frames": len(clip),
                "detected": sum(k is not None for k in keypoints) / len(clip), "photo_frame": photo_frame,
                "compared": chosen,
            },
            "perceptual": metric.name,
            "methods": {m: _score(drawn[m], truths, metric.distance) for m in METHODS},
        }  # fmt: skip
    write_json(output / "result.json", result)
    _write_comparison(output, truths, drawn, info.fps)
    return result


def _limited(frames: Iterable[tuple[float, np.ndarray]]) -> Iterator[tuple[float, np.ndarray]]:
    for k, frame in enumerate(frames):
        if k >= _LONGEST:
            log.warning("only the first %d frames are used", _LONGEST)
            return
        yield frame


def _spread(indices: Sequence[int], count: int) -> list[int]:
    """At most ``count`` of the indices, evenly."""
    if len(indices) <= count:
        return list(indices)
    return [indices[round(k)] for k in np.linspace(0, len(indices) - 1, count)]


def _perceptual(components: Components) -> Any:
    """The recipe's perceptual metric, with the weights that agree best with people where there is a choice."""
    choice = components.choice("perceptual")
    name = choice.use or "st-lpips"
    descriptor = components.registry.get("loss", name)
    options = {"trunk": "vgg"} if any(o.name == "trunk" for o in descriptor.options()) else {}
    return descriptor.create(options, components.context)


def _truth(index: int, image: np.ndarray, keypoints: Keypoints | None, components: Components) -> _Truth:
    photo = photo_from_array(image, f"frame {index}")
    matte = components.get("matter").matte(photo, keypoints)
    alpha = matte.alpha[..., None]
    windows = {r: [w for s in sets if (w := _window(keypoints, s))] for r, sets in _REGIONS.items()}
    return _Truth(index, matte.foreground * alpha + (1 - alpha), windows)


def _window(keypoints: Keypoints | None, name: str) -> tuple[int, int, int, int] | None:
    """A square around a set of landmarks, inside the picture; None where it is not seen."""
    if keypoints is None or not keypoints.has(name):
        return None
    low, high = keypoints.points[name].min(0), keypoints.points[name].max(0)
    centre, half = (low + high) / 2, 0.65 * float((high - low).max())
    x0, y0 = (max(0, int(v - half)) for v in centre)
    x1, y1 = min(keypoints.width, int(centre[0] + half)), min(keypoints.height, int(centre[1] + half))
    return (x0, y0, x1, y1) if min(x1 - x0, y1 - y0) >= 24 else None


def _draw(
    avatar: LoadedAvatar, subject: Subject, params: BodyParams, chosen: Sequence[int], tell: Callable[[str, float], None]
) -> dict[str, list[torch.Tensor]]:
    """Pictures of each method on white, (H, W, 3), for the chosen frames."""
    camera, body, renderer = subject.camera, avatar.body, avatar.renderer
    texture = texture_from_photo(subject, body, renderer).rgb
    alpha = subject.matte.alpha[..., None]
    still = subject.matte.foreground * alpha + (1 - alpha)
    out: dict[str, list[torch.Tensor]] = {m: [] for m in METHODS}
    for k, i in enumerate(chosen):
        frame = replace(params[i], shape=subject.params.shape)
        out["avatar"].append(avatar.render(frame, camera=camera)[..., :3])
        out["still"].append(still)
        mesh = Mesh(body.vertices(frame, subject.vertex_offsets)[0], body.faces)
        seen = renderer.meshes.render(mesh, camera)
        hit = seen.face_index >= 0
        image = torch.ones(*hit.shape, 3)
        image[hit] = sample_texture(texture, body, seen.face_index[hit], seen.barycentric[hit].float())
        mask = seen.mask[..., None].clamp(0, 1)
        out["mesh"].append((image * mask + (1 - mask)).clamp(0, 1))
        tell(f"frame {k + 1} of {len(chosen)}", (k + 1) / len(chosen))
    return out


def _score(images: Sequence[torch.Tensor], truths: Sequence[_Truth], distance: Callable[..., torch.Tensor]) -> dict:
    """Means over frames, whole and per region."""
    whole = [_compare(i, t.image, distance) for i, t in zip(images, truths, strict=True)]
    scores: dict[str, Any] = {m: float(np.mean([s[m] for s in whole])) for m in METRICS}
    scores["regions"] = {}
    for region in _REGIONS:
        parts = [
            _compare(i[y0:y1, x0:x1], t.image[y0:y1, x0:x1], distance)
            for i, t in zip(images, truths, strict=True)
            for x0, y0, x1, y1 in t.windows[region]
        ]
        if parts:
            scores["regions"][region] = {m: float(np.mean([s[m] for s in parts])) for m in METRICS} | {"windows": len(parts)}
    return scores


def _compare(image: torch.Tensor, truth: torch.Tensor, distance: Callable[..., torch.Tensor]) -> dict[str, float]:
    from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

    a, b = image.numpy().astype(np.float64), truth.numpy().astype(np.float64)
    with torch.no_grad():
        lpips = distance(image.permute(2, 0, 1)[None], truth.permute(2, 0, 1)[None])
    return {
        "mse": float(mean_squared_error(a, b)),
        "l1": float(np.abs(a - b).mean()),
        "psnr": float(peak_signal_noise_ratio(b, a, data_range=1.0)),
        "ssim": float(structural_similarity(b, a, data_range=1.0, channel_axis=-1)),
        "lpips": float(lpips),
    }


def _write_comparison(output: Path, truths: Sequence[_Truth], drawn: dict[str, list[torch.Tensor]], fps: float) -> None:
    """Truth, avatar, still and mesh side by side."""
    rows = [torch.cat([t.image, *(drawn[m][k] for m in METHODS)], 1) for k, t in enumerate(truths)]
    save_png(output / "comparison.png", torch.cat([rows[k] for k in _spread(range(len(rows)), 4)], 0))
    height, width = rows[0].shape[:2]
    with VideoWriter(output / "comparison.mp4", width, height, max(2.0, min(fps, 6.0))) as video:
        for row in rows:
            video.write((row.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
