"""Image metrics of an avatar against the truth: whole pictures, and windows around face and hands."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from avatarkit.animation import LoadedAvatar
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.subject import Subject

__all__ = ["METRICS", "REGIONS", "REVISION", "compare", "mean_scores", "photo_metrics", "psnr", "resized", "windows"]

METRICS = ("mse", "l1", "psnr", "ssim", "lpips")
REGIONS = {"face": "face", "hands": "hand"}
"""Region -> part of the person, see ``Keypoints.sets``."""
REVISION = 2
"""Raise it with every change of results: scores of an older revision are computed again."""
_SMALLEST = 24  # pixels; networks and structural similarity need at least this size

Window = tuple[int, int, int, int]
Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def windows(keypoints: Keypoints, window: Window, size: tuple[int, int]) -> dict[str, list[Window]]:
    """Return squares (x0, y0, x1, y1) around the detected regions.

    Args:
        keypoints: landmarks of the whole frame.
        window: the part of the frame that is compared.
        size: (width, height) that the window was scaled to.
    """
    (left, top, right, bottom), (width, height) = window, size
    scale = width / (right - left), height / (bottom - top)
    found: dict[str, list[Window]] = {}
    for region, part in REGIONS.items():
        found[region] = []
        for name in keypoints.sets(part):
            points = (keypoints.points[name] - (left, top)) * scale
            low, high = points.min(0), points.max(0)
            center, half = (low + high) / 2, 0.65 * float((high - low).max())
            x0, y0 = (max(0, int(v - half)) for v in center)
            x1, y1 = min(width, int(center[0] + half)), min(height, int(center[1] + half))
            if min(x1 - x0, y1 - y0) >= _SMALLEST:
                found[region].append((x0, y0, x1, y1))
    return found


def compare(
    images: Mapping[str, torch.Tensor],
    truth: torch.Tensor,
    regions: Mapping[str, Sequence[Window]],
    distance: Distance,
) -> dict[str, dict[str, Any]]:
    """Return the scores of several pictures of one frame.

    Args:
        images: method -> (H, W, 3) sRGB 0 to 1.
        truth: true picture of the same size.
        regions: see ``windows``.
        distance: (B, 3, h, w), (1, 3, h, w) -> (B,), smaller is nearer.

    Returns:
        method -> each of ``METRICS``, and under ``regions``: region -> a list of the same, one for each window.
    """
    height, width = truth.shape[:2]
    whole = _compare_window(images, truth, (0, 0, width, height), distance)
    scores: dict[str, dict[str, Any]] = {m: {**s, "regions": {r: [] for r in regions}} for m, s in whole.items()}
    for region, places in regions.items():
        for window in places:
            for method, values in _compare_window(images, truth, window, distance).items():
                scores[method]["regions"][region].append(values)
    return scores


def _compare_window(
    images: Mapping[str, torch.Tensor], truth: torch.Tensor, window: Window, distance: Distance
) -> dict[str, dict[str, float]]:
    from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

    x0, y0, x1, y1 = window
    cut = {method: image[y0:y1, x0:x1] for method, image in images.items()}
    true = truth[y0:y1, x0:x1]
    with torch.no_grad():
        far = distance(torch.stack(list(cut.values())).permute(0, 3, 1, 2), true.permute(2, 0, 1)[None]).tolist()
    b = true.numpy().astype(np.float64)
    out = {}
    for (method, image), lpips in zip(cut.items(), far, strict=True):
        a = image.numpy().astype(np.float64)
        # Wang et al. 2004: a Gaussian window of 1.5 pixels
        ssim = structural_similarity(
            b, a, data_range=1.0, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        mse = float(mean_squared_error(b, a))
        psnr = (
            float(peak_signal_noise_ratio(b, a, data_range=1.0)) if mse > 1e-10 else 100.0
        )  # an infinite PSNR cannot be averaged
        out[method] = {"mse": mse, "l1": float(np.abs(a - b).mean()), "psnr": psnr, "ssim": float(ssim), "lpips": lpips}
    return out


def mean_scores(frames: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one method's mean scores over frames, and per region over its windows.

    The regions include the number of windows.
    """
    means: dict[str, Any] = _mean(frames)
    means["regions"] = {}
    for region in REGIONS:
        parts = [window for frame in frames for window in frame["regions"].get(region, ())]
        if parts:
            means["regions"][region] = _mean(parts) | {"windows": len(parts)}
    return means


def _mean(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {m: float(np.mean([s[m] for s in scores])) for m in METRICS}


def resized(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Resample (H, W, C) to another pixel grid, averaging when it shrinks."""
    if image.shape[:2] == (height, width):
        return image
    stack = image.permute(2, 0, 1)[None]
    small = functional.interpolate(stack, (height, width), mode="bilinear", antialias=True, align_corners=False)
    return small[0].permute(1, 2, 0).clamp(0, 1)


def photo_metrics(avatar: LoadedAvatar, subject: Subject) -> dict[str, float]:
    """Compare the avatar in the photo's pose and camera with the photo.

    Returns:
        ``psnr_matte``: decibels inside the matte (alpha > 0.5), against its foreground colors over black;
        ``silhouette_iou``: of accumulated opacity and matte, both above one half.
    """
    drawn = avatar.render(camera=subject.camera, background="transparent")
    alpha = subject.matte.alpha
    inside = alpha > 0.5
    shown = (drawn[..., :3] * drawn[..., 3:])[inside]
    truth = (subject.matte.foreground * alpha[..., None])[inside]
    covered = drawn[..., 3] > 0.5
    iou = float((covered & inside).sum() / (covered | inside).sum().clamp(min=1))
    return {"psnr_matte": round(psnr(shown, truth), 2), "silhouette_iou": round(iou, 4)}


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the peak signal-to-noise ratio in decibels of pictures with values 0 to 1."""
    return 10 * math.log10(1 / max(float((a - b).square().mean()), 1e-10))
