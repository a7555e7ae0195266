"""Pictures of how well a body lies on a photo."""

from __future__ import annotations

import numpy as np
import torch

from avatarkit.interfaces import BodyModel, MeshRasterizer
from avatarkit.types.body import BodyParams, SurfaceLandmarks
from avatarkit.types.camera import Camera
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import Mesh, vertex_normals
from avatarkit_exavatar.body.anatomy import anatomy_of
from avatarkit_exavatar.body.kinematics import Kinematics
from avatarkit_exavatar.body.parameters import Parameters
from avatarkit_exavatar.body.points import Identity
from avatarkit_exavatar.fitting.residuals import projection
from avatarkit_exavatar.observations.landmarks import set_points
from avatarkit_exavatar.observations.observation import observe

__all__ = ["draw_landmarks", "draw_mesh", "overlay", "part_colors"]

_SEEN, _FITTED, _LINK = (40, 220, 70), (235, 50, 40), (250, 220, 60)
_IRISES = (468, 473)
_CLAY = np.array([0.86, 0.72, 0.62], np.float32)


def draw_mesh(
    image: np.ndarray, vertices: torch.Tensor, faces: torch.Tensor, camera: Camera, rasterizer: MeshRasterizer,
    opacity: float = 0.9, colors: torch.Tensor | None = None,
) -> np.ndarray:  # fmt: skip
    """(H, W, 3) uint8 ``image`` with a mesh (V, 3) shaded over it, in vertex ``colors`` (V, 3) or in clay."""
    drawn = rasterizer.render(Mesh(vertices, faces), camera)
    normals = vertex_normals(vertices, faces) @ camera.T_camera_world[:3, :3].T
    corners = faces[drawn.face_index.clamp_min(0)]
    normal = (normals[corners] * drawn.barycentric[..., None]).sum(-2)
    light = torch.nn.functional.normalize(torch.tensor([-0.35, -0.55, -1.0]), dim=0)
    lit = (normal @ light).clamp(0, 1).numpy()[..., None] * 0.65 + 0.35
    cover = drawn.mask.detach().clamp(0, 1).numpy()[..., None] * opacity
    color = _CLAY if colors is None else (colors[corners] * drawn.barycentric[..., None]).sum(-2).numpy()
    mixed = image.astype(np.float32) / 255 * (1 - cover) + color * lit * cover
    return (mixed.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def part_colors(body: BodyModel) -> torch.Tensor:
    """(V, 3) clay with red lips, white teeth and eyes, and dark irises, so that mouth and gaze can be judged."""
    colors = torch.from_numpy(_CLAY).repeat(len(body.skinning_weights), 1)
    for name, color in (("lips", (0.75, 0.35, 0.35)), ("teeth", (1.0, 1.0, 0.95)), ("eyes", (1.0, 1.0, 1.0))):
        share = body.part(name)[:, None]
        colors = colors * (1 - share) + torch.tensor(color) * share
    table = body.landmarks("face478")
    if isinstance(table, SurfaceLandmarks) and len(table.triangles) > _IRISES[-1]:
        rest = body.rest(body.neutral().shape, body.neutral().expression[None])[0]
        centers = (rest[table.triangles] * table.barycentric[..., None]).sum(1)[list(_IRISES)]
        near = torch.cdist(rest, centers).amin(1) < 0.006
        colors[near & (body.part("eyes") > 0.5)] = 0.1
    return colors


def draw_landmarks(image: np.ndarray, seen: np.ndarray, fitted: np.ndarray, radius: int) -> np.ndarray:
    """(H, W, 3) uint8 ``image`` with detected points (n, 2) green, the body's (n, 2) red, and lines between them."""
    out = image.copy()
    for a, b in zip(seen, fitted, strict=True):
        length = int(np.linalg.norm(b - a)) + 2
        for p in np.linspace(a, b, min(length, 4000)):
            _dot(out, p, 0, _LINK)
    for points, color in ((seen, _SEEN), (fitted, _FITTED)):
        for p in points:
            _dot(out, p, radius, color)
    return out


def _dot(image: np.ndarray, point: np.ndarray, radius: int, color: tuple[int, int, int]) -> None:
    """Colors a small square in place."""
    if not np.isfinite(point).all():
        return
    x, y = (int(v) for v in np.floor(point).clip(-1e6, 1e6))
    image[max(y - radius, 0) : max(y + radius + 1, 0), max(x - radius, 0) : max(x + radius + 1, 0)] = color


def overlay(
    image: np.ndarray,
    keypoints: Keypoints,
    params: BodyParams,
    camera: Camera,
    body: BodyModel,
    rasterizer: MeshRasterizer,
    offsets: torch.Tensor | None = None,
) -> np.ndarray:
    """Return the picture with landmarks beside the picture with the mesh.

    Args:
        image: (H, W, 3) uint8.
        keypoints: landmarks of the picture.
        params: one frame.
        camera: of the picture.
        body: the body model.
        rasterizer: draws meshes.
        offsets: (V, 3) as in ``Subject``.

    Returns:
        (H, 2 W, 3) uint8.
    """
    parameters = Parameters(body, anatomy_of(body))
    observation = observe(keypoints, body)
    identity = Identity(body, params.shape, False)
    kinematics = Kinematics(body, parameters, identity)
    posed = kinematics.pose(parameters.encode(params))
    radius = 0 if observation.head_pixels < 150 else 1
    marked = image
    for name, seen in observation.sets.items():
        if name == "pose33":
            keep = seen.weight > 0.05
        else:
            keep = torch.ones(len(seen.weight), dtype=torch.bool)
        fitted = projection(camera, kinematics.world(posed, set_points(identity, seen)))[0]
        marked = draw_landmarks(
            marked, seen.pixels[keep].numpy(), fitted[keep].numpy(), radius if name == "face478" else radius + 1
        )
    vertices = body.vertices(params, offsets)[0]
    return np.concatenate([marked, draw_mesh(image, vertices, body.faces, camera, rasterizer, colors=part_colors(body))], 1)
