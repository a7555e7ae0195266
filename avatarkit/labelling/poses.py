"""Simulates a whole-body detector: 133 points with confidence from body parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from avatarkit.errors import PluginError
from avatarkit.interfaces import BodyModel
from avatarkit.labelling.wholebody import COUNT, EARS, FACE, HANDS, HEAD, from_sets
from avatarkit.types.body import BodyParams, JointLandmarks, SurfaceLandmarks
from avatarkit.types.camera import Camera
from avatarkit.types.mesh import Mesh, barycentric

__all__ = ["joint_positions", "landmark_positions", "observe"]

SETS = ("coco133", "pose33", "face478", "hand21_left", "hand21_right")
POINTS = {"coco133": COUNT, "pose33": 33, "face478": 478, "hand21_left": 21, "hand21_right": 21}
VISIBLE = 0.9  # confidence of a visible point; detectors seldom give more
# Confidence of occluded points: detectors still guess limbs, but lose eyes and ears of turned heads.
HIDDEN_LIMB, HIDDEN_HEAD, HIDDEN_DETAIL = 0.5, 0.2, 0.3
# Depth in meters below the surface at which a point still counts as visible: joints lie inside the body. Confidence then
# falls over a further depth, so that it does not flicker.
DEPTH_LIMB, DEPTH_EAR, DEPTH_HEAD, DEPTH_DETAIL = 0.15, 0.09, 0.05, 0.025
FALL = 0.4
CHUNK = 16  # frames whose vertices are in memory at once
VISIBILITY_SIZE = 384  # long side of the depth maps


def observe(
    body: BodyModel,
    params: BodyParams,
    camera: Camera,
    offsets: torch.Tensor | None = None,
    meshes: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Project a body's landmarks and estimate how well a detector would see them.

    Args:
        body: the body model; it must have ``coco133``, or at least ``pose33``.
        params: (T,) frames in the world.
        camera: camera of the picture.
        offsets: (V, 3) of the person, or None.
        meshes: a ``MeshRasterizer`` to find points occluded by the body; None = ignore occlusion.

    Returns:
        (T, 133, 2) pixels, NaN for points that the body model lacks, and (T, 133) scores 0 to 1.
    """
    points, scores = [], []
    params = params.batched()
    for start in range(0, params.batch_shape[0], CHUNK):
        with torch.no_grad():
            vertices = body.vertices(params[start : start + CHUNK], offsets)
            world = landmark_positions(body, params[start : start + CHUNK], vertices)
        visible = np.stack([_visibility(p, v, body, camera, meshes) for p, v in zip(world, vertices, strict=True)])
        pixels = camera.project(torch.from_numpy(world).float()).double().numpy()
        points.append(np.where(np.isfinite(world[..., :1]), pixels, np.nan))
        scores.append(visible)
    return np.concatenate(points), np.concatenate(scores)


def landmark_positions(body: BodyModel, params: BodyParams, vertices: torch.Tensor) -> np.ndarray:
    """Return the world positions of the 133 points.

    Args:
        body: the body model.
        params: (T,) frames.
        vertices: (T, V, 3) of these frames.

    Returns:
        (T, 133, 3) meters, NaN for unknown points.

    Raises:
        PluginError: the body model has neither ``coco133`` nor ``pose33``.
    """
    found: dict[str, np.ndarray] = {}
    for name in SETS:
        table = body.landmarks(name)
        if table is None:
            continue
        if isinstance(table, SurfaceLandmarks):
            positions = barycentric(vertices, table.triangles, table.barycentric.to(vertices))
        else:
            positions = joint_positions(body, params, table, POINTS[name])
        found[name] = positions.detach().cpu().double().numpy()
        if name == "coco133":
            break
    if "coco133" not in found and "pose33" not in found:
        raise PluginError(f"The body model {body.name!r} has no landmark table 'coco133' or 'pose33', which drawn poses need.")
    return from_sets(found, {name: np.ones(p.shape[:-1]) for name, p in found.items()}, dims=3)[0]


def joint_positions(body: BodyModel, params: BodyParams, table: JointLandmarks, count: int) -> torch.Tensor:
    """Return points (T, count, 3) that are fixed to joints.

    Their offsets in the joints' rest frames scale with a bone.
    """
    skeleton = body.skeleton(params.shape)
    transforms = body.joint_transforms(skeleton, params.root, params.translation, params.joints)
    ends = skeleton.positions[table.bone]
    length = (ends[:, 0] - ends[:, 1]).norm(dim=-1)
    scale = torch.where(table.bone_length > 0, length / table.bone_length.clamp(min=1e-6), 1.0)
    offset = (skeleton.orientations[table.joint] @ (table.offset * scale[:, None])[..., None])[..., 0]
    rest = skeleton.positions[table.joint] + offset
    A = transforms[:, table.joint]
    out = rest.new_full((transforms.shape[0], count, 3), float("nan"))
    out[:, table.index] = (A[..., :3, :3] @ rest[..., None])[..., 0] + A[..., :3, 3]
    return out


def _visibility(world: np.ndarray, vertices: torch.Tensor, body: BodyModel, camera: Camera, meshes: Any) -> np.ndarray:
    """Return the scores (133,) of one frame.

    0 outside the picture or unknown, low for occluded points.
    """
    hidden_score = np.full(COUNT, HIDDEN_LIMB)
    allowance = np.full(COUNT, DEPTH_LIMB)
    hidden_score[HEAD], allowance[HEAD], allowance[EARS] = HIDDEN_HEAD, DEPTH_HEAD, DEPTH_EAR
    for part in (FACE, *HANDS.values()):
        hidden_score[part], allowance[part] = HIDDEN_DETAIL, DEPTH_DETAIL

    shrink = min(1.0, VISIBILITY_SIZE / max(camera.width, camera.height))
    small = camera.resized(max(1, round(camera.width * shrink)), max(1, round(camera.height * shrink)))
    points = torch.from_numpy(np.nan_to_num(world)).float()
    xy = small.project(points).numpy()
    depth = small.to_camera(points)[:, 2].numpy()
    inside = (xy >= 0).all(1) & (xy < [small.width, small.height]).all(1) & (depth > 0)
    inside &= np.isfinite(world).all(1)
    hidden = np.zeros(COUNT)
    if meshes is not None:
        with torch.no_grad():
            surface = meshes.render(Mesh(vertices, body.faces), small).depth.cpu().numpy()
        x, y = (xy[:, k].astype(int).clip(0, size - 1) for k, size in ((0, small.width), (1, small.height)))
        below = np.where(surface[y, x] > 0, depth - surface[y, x], 0.0)
        hidden = ((below / allowance - 1) / FALL).clip(0, 1)
    return np.where(inside, VISIBLE + hidden * (hidden_score - VISIBLE), 0.0)
