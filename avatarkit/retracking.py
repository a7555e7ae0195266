"""Re-tracking of label clips (paper, section 3.2): generators do not keep exactly to the pose that they were asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from avatarkit.interfaces import BodyModel, KeypointDetector, Subject, Tracker
from avatarkit.labels import LabelClip

__all__ = ["Drift", "retrack"]


@dataclass(frozen=True)
class Drift:
    """How far a generator strayed from its request.

    Attributes:
        mean_mm: mean distance of the joints between requested and re-tracked pose, millimetres.
        lost: part of the frames in which nobody was found.
    """

    mean_mm: float
    lost: float


def retrack(
    clip: LabelClip, subject: Subject, body: BodyModel, detector: KeypointDetector, tracker: Tracker, fps: float
) -> tuple[LabelClip, Drift]:
    """Tracks the clip's frames with the subject's shape; frames in which nobody was found get no confidence.

    Args:
        clip: with ``params`` as requested. fps: of its frames.
    """
    frames = (frame.numpy() for frame in clip.frames)
    motion = tracker.track(list(detector.detect_video(frames)), subject, fps, clip.requested, clip.cameras)
    valid = torch.ones(len(clip), dtype=torch.bool) if motion.valid is None else motion.valid
    params = replace(motion.params, shape=subject.params.shape)
    skeleton = body.skeleton(subject.params.shape)

    def joints(p):
        A = body.joint_transforms(skeleton, p.root, p.translation, p.joints)
        return torch.einsum("bjik,jk->bji", A[..., :3, :3], skeleton.positions) + A[..., :3, 3]

    distance = (joints(params) - joints(clip.requested)).norm(dim=-1).mean(-1)
    drift = Drift(float(distance[valid].mean() * 1000) if valid.any() else float("nan"), float((~valid).float().mean()))
    confidence = clip.confidence * valid[:, None, None].to(clip.confidence.dtype)
    return replace(clip, params=params, confidence=confidence), drift
