"""How well a finished avatar shows its photo."""

from __future__ import annotations

import math

import torch

from avatarkit.animation import LoadedAvatar
from avatarkit.interfaces import Subject

__all__ = ["photo_metrics"]


def photo_metrics(avatar: LoadedAvatar, subject: Subject) -> dict[str, float]:
    """Compares the avatar in the photo's pose and camera with the photo.

    Returns:
        ``psnr_matte``: decibels inside the matte (alpha > 0.5), against its foreground colours over black;
        ``silhouette_iou``: of accumulated opacity and matte, both above one half.
    """
    drawn = avatar.render(camera=subject.camera, background="transparent")
    alpha = subject.matte.alpha
    inside = alpha > 0.5
    shown = (drawn[..., :3] * drawn[..., 3:])[inside]
    truth = (subject.matte.foreground * alpha[..., None])[inside]
    error = float((shown - truth).square().mean())
    covered = drawn[..., 3] > 0.5
    iou = float((covered & inside).sum() / (covered | inside).sum().clamp(min=1))
    return {"psnr_matte": round(10 * math.log10(1 / max(error, 1e-10)), 2), "silhouette_iou": round(iou, 4)}


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    """Peak signal-to-noise ratio of two pictures with values 0 to 1, decibels."""
    return 10 * math.log10(1 / max(float((a - b).square().mean()), 1e-10))
