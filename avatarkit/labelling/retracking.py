"""Re-tracks label clips (paper, section 3.2): generators do not follow the requested pose exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.nn.functional import interpolate

from avatarkit.errors import InputError
from avatarkit.interfaces import BodyModel, KeypointDetector, MeshRasterizer, Subject, Tracker
from avatarkit.types.body import BodyParams
from avatarkit.types.mesh import Mesh
from avatarkit.types.pseudo_labels import LabelClip

__all__ = ["Drift", "retrack"]

_OUTLINE = 192  # pixels, longer side of the pictures in which outlines are compared
_TRUSTED, _REFUSED = 0.85, 0.5  # of the better frames' agreement: full confidence above the first, none below the second


@dataclass(frozen=True)
class Drift:
    """How far a generator's clip deviates from its request.

    Attributes:
        mean_mm: mean distance of the joints between requested and re-tracked pose, millimeters; NaN if no frame was tracked.
        lost: share of the frames in which no person was found.
        agreement: median intersection over union of the re-tracked body's outline and the matte, 0 to 1.
        doubted: share of the frames with reduced confidence, because body and matte agree much less than in the others.
    """

    mean_mm: float
    lost: float
    agreement: float
    doubted: float


def retrack(
    clip: LabelClip,
    subject: Subject,
    body: BodyModel,
    detector: KeypointDetector,
    tracker: Tracker,
    meshes: MeshRasterizer,
    fps: float,
) -> tuple[LabelClip, Drift]:
    """Track the clip's frames with the subject's shape.

    Frames without a person get zero confidence. Frames whose tracked body does not match the matte's outline get less
    confidence: either the generator or the tracker failed there.

    Args:
        clip: clip with ``params`` as requested.
        subject: the tracked photo.
        body: the body model.
        detector: finds landmarks in the frames.
        tracker: fits the body to the landmarks.
        meshes: rasterizer for the outlines.
        fps: frames per second of the clip.
    """
    frames = [frame.numpy() for frame in clip.frames]
    try:
        motion = tracker.track(list(detector.detect_video(frames)), subject, fps, clip.requested, clip.cameras, frames)
    except InputError:  # no person in the whole clip: the generator failed, which must not stop the build
        return replace(clip, confidence=torch.zeros_like(clip.confidence)), Drift(float("nan"), 1.0, 0.0, 0.0)
    valid = torch.ones(len(clip), dtype=torch.bool) if motion.valid is None else motion.valid
    params = replace(motion.params, shape=subject.params.shape)
    skeleton = body.skeleton(subject.params.shape)

    def joints(p: BodyParams) -> torch.Tensor:
        A = body.joint_transforms(skeleton, p.root, p.translation, p.joints)
        return torch.einsum("bjik,jk->bji", A[..., :3, :3], skeleton.positions) + A[..., :3, 3]

    distance = (joints(params) - joints(clip.requested)).norm(dim=-1).mean(-1)
    tracked = replace(clip, params=params)
    overlap = _agreement(tracked, subject, body, meshes)
    trust = _trust(overlap, valid)
    confidence = (clip.confidence.float() * trust[:, None, None]).round().to(clip.confidence.dtype)
    drift = Drift(
        mean_mm=float(distance[valid].mean() * 1000) if valid.any() else float("nan"),
        lost=float((~valid).float().mean()),
        agreement=float(overlap[valid].median()) if valid.any() else 0.0,
        doubted=float((valid & (trust < 1)).float().mean()),
    )
    return replace(tracked, confidence=confidence), drift


def _agreement(clip: LabelClip, subject: Subject, body: BodyModel, meshes: MeshRasterizer) -> torch.Tensor:
    """Return the intersection over union (T,) of body outline and matte, on small pictures."""
    found = []
    for number, camera in enumerate(clip.cameras):
        shrink = min(1.0, _OUTLINE / max(camera.width, camera.height))
        small = camera.resized(max(8, round(camera.width * shrink)), max(8, round(camera.height * shrink)))
        with torch.no_grad():
            vertices = body.vertices(clip.params[number].batched(), subject.vertex_offsets)[0].float()
            drawn = meshes.render(Mesh(vertices, body.faces), small).face_index >= 0
        alpha = clip.alpha[number][None, None].float()
        matte = interpolate(alpha, (small.height, small.width), mode="area")[0, 0] > 127
        found.append(float((drawn & matte).sum()) / max(1.0, float((drawn | matte).sum())))
    return torch.tensor(found)


def _trust(overlap: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return the confidence (T,) 0 to 1 of frames from their agreement.

    It is relative to the clip's better frames, because clothes and hair are outside every body.
    """
    if not valid.any():
        return torch.zeros_like(overlap)
    best = overlap[valid].quantile(0.8).clamp(min=1e-6)
    trust = ((overlap / best - _REFUSED) / (_TRUSTED - _REFUSED)).clamp(0, 1)
    return torch.where(valid, trust, torch.zeros_like(trust))
