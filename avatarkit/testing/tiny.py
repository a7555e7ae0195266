"""A tiny body, a tiny tracked subject and a context for components; synthetic, created in milliseconds."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from avatarkit.config import SLOTS
from avatarkit.errors import ConfigError
from avatarkit.geometry.rotations import axis_angle_to_matrix
from avatarkit.interfaces import (
    PROTOCOLS,
    BodyModel,
    Context,
    GaussianRasterizer,
    GetComponent,
    MeshRasterizer,
    Renderer,
    ShapePrior,
    Skeleton,
    Subject,
    with_defaults,
)
from avatarkit.reference.gaussians import render_gaussians
from avatarkit.reference.meshes import render_mesh
from avatarkit.testing.landmarks import tiny_landmarks
from avatarkit.types.body import BodyParams, JointLandmarks, Motion, PoseGroup, SurfaceLandmarks
from avatarkit.types.camera import Camera, front_camera
from avatarkit.types.gaussians import GaussianRendering, Gaussians
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import Mesh, MeshRendering, linear_blend_skinning
from avatarkit.types.photo import Photo
from avatarkit.types.subject import Matte, Quality

__all__ = ["ReferenceRenderer", "TinyBody", "tiny_context", "tiny_motion", "tiny_subject"]

# name, parent, start and end of the bone at rest (y up, facing +z, meters), radius
_BONES = (
    ("pelvis", -1, (0.0, 0.90, 0.0), (0.0, 1.10, 0.0), 0.13),
    ("spine1", 0, (0.0, 1.10, 0.0), (0.0, 1.40, 0.0), 0.14),
    ("head", 1, (0.0, 1.46, 0.0), (0.0, 1.70, 0.0), 0.09),
    ("left_shoulder", 1, (0.17, 1.36, 0.0), (0.36, 1.12, 0.0), 0.05),
    ("left_elbow", 3, (0.36, 1.12, 0.0), (0.52, 0.90, 0.0), 0.04),
    ("right_shoulder", 1, (-0.17, 1.36, 0.0), (-0.36, 1.12, 0.0), 0.05),
    ("right_elbow", 5, (-0.36, 1.12, 0.0), (-0.52, 0.90, 0.0), 0.04),
    ("left_hip", 0, (0.09, 0.90, 0.0), (0.10, 0.05, 0.0), 0.07),
    ("right_hip", 0, (-0.09, 0.90, 0.0), (-0.10, 0.05, 0.0), 0.07),
)
_RINGS, _SIDES = 7, 12


class TinyBody:
    """A ``BodyModel`` of nine closed tubes, 756 vertices.

    It has one shape parameter (height), two expressions (jaw, smile), and the landmark sets ``pose33`` (in part) and ``face478``
    (the 68 points of the iBUG annotation and the pupils).
    """

    name = "tiny"
    shape_names: tuple[str, ...] = ("height",)
    expression_names: tuple[str, ...] = ("jawOpen", "mouthSmileLeft")
    shape_prior: ShapePrior | None = None

    def __init__(self, config: Any = None, context: Context | None = None) -> None:
        self.joint_names = tuple(b[0] for b in _BONES)
        self.parents = tuple(b[1] for b in _BONES)
        self._heads = torch.tensor([b[2] for b in _BONES])
        tubes = [_tube(np.array(b[2]), np.array(b[3]), b[4], k) for k, b in enumerate(_BONES)]
        per_tube = _RINGS * _SIDES
        self._template = torch.from_numpy(np.concatenate([t[0] for t in tubes]).astype(np.float32))
        self.faces = torch.from_numpy(np.concatenate([t[1] + i * per_tube for i, t in enumerate(tubes)]))
        uv_count = len(tubes[0][2])
        self.uv = torch.from_numpy(np.concatenate([t[2] for t in tubes]).astype(np.float32))
        self.uv_faces = torch.from_numpy(np.concatenate([t[3] + i * uv_count for i, t in enumerate(tubes)]))
        owner = torch.arange(len(_BONES)).repeat_interleave(per_tube)
        parent = torch.tensor(self.parents).clamp(min=0)[owner]
        near = torch.arange(_RINGS).repeat_interleave(_SIDES).repeat(len(_BONES)) == 0
        own = torch.where(near, 0.5, 1.0)
        self.skinning_indices = torch.stack([owner, parent], 1)
        self.skinning_weights = torch.stack([own, 1 - own], 1)
        self.pose_groups = tuple(PoseGroup(n, (j,), (1.0,), 0.5) for j, n in enumerate(self.joint_names) if j)
        self._owner = owner

    def neutral(self) -> BodyParams:
        J = len(_BONES)
        return BodyParams(self.name, torch.zeros(1), torch.zeros(2), torch.zeros(3), torch.zeros(3), torch.zeros(J, 3))

    def rest(self, shape: torch.Tensor, expression: torch.Tensor, subset: torch.Tensor | None = None) -> torch.Tensor:
        v, owner = self._template, self._owner
        if subset is not None:
            v, owner = v[subset], owner[subset]
        v = v * torch.stack([torch.ones_like(shape[0]), 1 + 0.1 * shape[0], torch.ones_like(shape[0])])
        face = ((owner == 2) & (v[:, 1] < 1.55) & (v[:, 2] > 0.03)).float()
        down = torch.stack([torch.zeros_like(face), -0.03 * face, torch.zeros_like(face)], -1)
        wide = torch.stack([0.02 * face * v[:, 0].sign(), torch.zeros_like(face), torch.zeros_like(face)], -1)
        return v + expression[:, :1, None] * down + expression[:, 1:2, None] * wide

    def skeleton(self, shape: torch.Tensor) -> Skeleton:
        scale = torch.stack([torch.ones_like(shape[0]), 1 + 0.1 * shape[0], torch.ones_like(shape[0])])
        return Skeleton(self._heads * scale, torch.eye(3).expand(len(_BONES), 3, 3))

    def joint_transforms(
        self, skeleton: Skeleton, root: torch.Tensor, translation: torch.Tensor, joints: torch.Tensor
    ) -> torch.Tensor:
        B = root.shape[0]
        R = axis_angle_to_matrix(joints)
        world_R, world_t = [axis_angle_to_matrix(root)], [translation]
        for j, p in enumerate(self.parents[1:], start=1):
            step = skeleton.positions[j] - skeleton.positions[p]
            world_t.append(world_t[p] + world_R[p] @ step)
            world_R.append(world_R[p] @ R[:, j])
        rotation, position = torch.stack(world_R, 1), torch.stack(world_t, 1)
        offset = position - (rotation @ skeleton.positions[..., None])[..., 0]
        bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=offset.dtype).expand(B, len(_BONES), 1, 4)
        return torch.cat([torch.cat([rotation, offset[..., None]], -1), bottom], -2)

    def vertices(self, params: BodyParams, offsets: torch.Tensor | None = None) -> torch.Tensor:
        p = params.batched()
        rest = self.rest(p.shape, p.expression)
        if offsets is not None:
            rest = rest + offsets
        A = self.joint_transforms(self.skeleton(p.shape), p.root, p.translation, p.joints)
        return linear_blend_skinning(rest, self.skinning_indices, self.skinning_weights, A)

    def landmarks(self, name: str) -> SurfaceLandmarks | JointLandmarks | None:
        return tiny_landmarks(name, self._heads, self._template, self.faces)

    def part(self, name: str) -> torch.Tensor:
        members = {"head": (2,), "face": (2,), "skin": (2, 4, 6), "left_hand": (4,), "right_hand": (6,)}
        empty = ("lips", "eyelids", "ears", "nails", "mouth_inside", "teeth", "tongue", "eyes", "left_foot", "right_foot")
        if name not in members and name not in empty:
            raise KeyError(name)
        return torch.isin(self._owner, torch.tensor(members.get(name, ()), dtype=torch.int64)).float()

    def mirror(self) -> tuple[torch.Tensor, torch.Tensor]:
        flipped = self._template * torch.tensor([-1.0, 1.0, 1.0])
        swap = {n: n.replace("left", "#").replace("right", "left").replace("#", "right") for n in self.joint_names}
        joints = torch.tensor([self.joint_names.index(swap[n]) for n in self.joint_names])
        return torch.cdist(flipped, self._template).argmin(1), joints


def _tube(start: np.ndarray, end: np.ndarray, radius: float, chart: int) -> tuple[np.ndarray, ...]:
    """Return vertices, faces, uv, uv faces of a tube with rounded, closed ends.

    ``chart`` is its cell in a 3 x 3 atlas.
    """
    axis = (end - start) / np.linalg.norm(end - start)
    front = np.array([0.0, 0.0, 1.0])
    side = np.cross(axis, front)
    t = np.linspace(0, 1, _RINGS)
    swell = np.sqrt(np.clip(1 - (2 * t - 1) ** 6, 0.004, 1))
    a = np.arange(_SIDES) / _SIDES * 2 * math.pi
    ring = np.cos(a)[:, None] * front + np.sin(a)[:, None] * side
    vertices = (start + (end - start) * t[:, None])[:, None] + radius * swell[:, None, None] * ring
    i, j = np.meshgrid(np.arange(_RINGS - 1), np.arange(_SIDES), indexing="ij")
    k = (j + 1) % _SIDES

    def quads(stride: int, right: np.ndarray) -> np.ndarray:
        p, q, r, s = i * stride + j, i * stride + right, (i + 1) * stride + right, (i + 1) * stride + j
        return np.concatenate([np.stack([p, r, q], -1).reshape(-1, 3), np.stack([p, s, r], -1).reshape(-1, 3)])

    u, v = np.meshgrid(np.linspace(0.02, 0.98, _SIDES + 1), np.linspace(0.02, 0.98, _RINGS))
    uv = (np.stack([u, v], -1).reshape(-1, 2) + np.array([chart % 3, chart // 3])) / 3
    faces, uv_faces = quads(_SIDES, k), quads(_SIDES + 1, j + 1)
    corners = vertices.reshape(-1, 3)[faces[: len(faces) // 2]]
    outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    if (outward * (corners.mean(1) - (start + end) / 2)).sum() < 0:
        faces, uv_faces = faces[:, ::-1], uv_faces[:, ::-1]
    return vertices.reshape(-1, 3), np.ascontiguousarray(faces), uv, np.ascontiguousarray(uv_faces)


class _Splats:
    def render(self, gaussians: Gaussians, camera: Camera, background: torch.Tensor) -> GaussianRendering:
        return render_gaussians(gaussians, camera, background)


class _Meshes:
    def render(self, mesh: Mesh, camera: Camera) -> MeshRendering:
        return render_mesh(mesh, camera)


class ReferenceRenderer:
    """The slow torch rasterizers of ``avatarkit.reference`` as a renderer."""

    def __init__(self, config: Any = None, context: Context | None = None) -> None:
        self.gaussians: GaussianRasterizer = _Splats()
        self.meshes: MeshRasterizer = _Meshes()


def tiny_context(cache: Path | None = None, **components: Any) -> Context:
    """Return a context with ``TinyBody``, ``ReferenceRenderer`` and the given components."""
    slots: dict[str, Any] = {"body": TinyBody(), "renderer": ReferenceRenderer(), **components}
    slots = {slot: with_defaults(made, PROTOCOLS[SLOTS.get(slot, slot)]) for slot, made in slots.items()}

    def get(slot: str, name: str | None = None) -> Any:
        if slot not in slots:
            raise ConfigError(f"tiny_context was not given the slot {slot!r}")
        return slots[slot]

    context = replace(Context(), get=cast(GetComponent, get))
    return context if cache is None else replace(context, cache=cache)


def tiny_subject(context: Context | None = None, size: int = 64) -> Subject:
    """Return the tiny body in front of a camera, with colors that vary over its surface."""
    context = context or tiny_context()
    body, renderer = context.get("body"), context.get("renderer")
    if type(body) is TinyBody and type(renderer) is ReferenceRenderer:
        return copy.deepcopy(_tiny_subject(size))
    return _photographed(body, renderer, size)


@lru_cache(maxsize=8)
def _tiny_subject(size: int) -> Subject:
    return _photographed(TinyBody(), ReferenceRenderer(), size)


def _photographed(body: BodyModel, renderer: Renderer, size: int) -> Subject:
    camera = front_camera(size, size)
    params = replace(body.neutral(), translation=torch.tensor([0.0, -0.1, -2.6]))
    mesh = Mesh(body.vertices(params)[0], body.faces)
    drawn = renderer.meshes.render(mesh, camera)
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    colors = 0.2 + 0.6 * (mesh.vertices - low) / (high - low)
    corner = colors[body.faces[drawn.face_index.clamp(min=0)]]
    image = (corner * drawn.barycentric[..., None]).sum(-2).float()
    alpha = (drawn.face_index >= 0).float()
    background = torch.tensor([0.1, 0.5, 0.2])
    photo = Photo(image * alpha[..., None] + background * (1 - alpha[..., None]), None, "0" * 64, "tiny.png")
    heads = camera.project(body.skeleton(params.shape).positions - body.skeleton(params.shape).positions[0] + params.translation)
    keypoints = Keypoints(size, size, {"joints": heads.numpy()}, {"joints": np.ones(len(heads), np.float32)})
    offsets = torch.zeros(len(mesh.vertices), 3)
    return Subject(photo, Matte(alpha, image), keypoints, params, camera, offsets, Quality())


def tiny_motion(body: BodyModel | None = None, frames: int = 4) -> Motion:
    """Return a motion: an arm swings and the mouth opens.

    With another body model these are its fourth joint and its first expression.
    """
    p = (body or TinyBody()).neutral()
    t = torch.linspace(0, 1, frames)
    joints = p.joints.expand(frames, -1, -1).clone()
    joints[:, min(3, len(p.joints) - 1), 2] = 0.8 * t
    expression = p.expression.expand(frames, -1).clone()
    expression[:, :1] = t[:, None]
    still = torch.zeros(frames, 3)
    return Motion("tiny", 10.0, replace(p, expression=expression, root=still, translation=still, joints=joints))
