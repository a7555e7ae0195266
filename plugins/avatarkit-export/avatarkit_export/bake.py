"""The colors of an avatar's Gaussians as a texture of its mesh."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree

from avatarkit.appearance.texture import UVMap, inpaint, uv_positions
from avatarkit.interfaces import AvatarModel, BodyModel
from avatarkit.types.body import BodyParams
from avatarkit.types.mesh import barycentric, faces_of

__all__ = ["bake_texture"]

_NEAREST = 4


def bake_texture(avatar: AvatarModel, body: BodyModel, params: BodyParams, resolution: int) -> torch.Tensor:
    """Give each texel the color of the Gaussians nearest to it.

    Where the avatar's state says which surface point each Gaussian is bound to (``triangles``, ``weights``), nearest
    means on the UV square: lids and eyes, lips and teeth touch in space but not there. Gaussians that stand off the
    surface (the last ones, as many as ``seed_joints``) are left out then. Otherwise nearest is in space.

    Args:
        avatar: has Gaussians and a mesh.
        body: its body model.
        params: any pose of the person.
        resolution: texels along each side.

    Returns:
        (R, R, 3) sRGB 0 to 1, laid out as ``UVMap``.
    """
    uv_map = uv_positions(body, resolution)
    covered = uv_map.covered
    with torch.no_grad():
        posed = avatar.pose(params)
        colors = posed.gaussians.colors.detach().cpu().clamp(0, 1).numpy()
    at = _bound_uv(avatar, body)
    if at is not None:
        texels = torch.nonzero(covered)
        wanted = torch.stack([texels[:, 1] + 0.5, resolution - 0.5 - texels[:, 0]], 1).numpy() / resolution
        used = np.isfinite(at).all(1)
        points, colors = at[used], colors[used]
    else:
        assert posed.mesh is not None
        wanted = _surface(posed.mesh.vertices.detach().cpu(), body, uv_map).numpy()
        points = posed.gaussians.means.detach().cpu().numpy()
    distance, near = cKDTree(points).query(wanted, k=min(_NEAREST, len(points)))
    distance, near = distance.reshape(len(wanted), -1), near.reshape(len(wanted), -1)
    # A kernel as wide as the Gaussians are apart: sharp where they are dense, smooth where they are sparse.
    weight = np.exp(-2.0 * (distance / np.maximum(distance[:, -1:], 1e-9)) ** 2)
    weight /= weight.sum(1, keepdims=True)
    image = torch.zeros(resolution, resolution, 3)
    image[covered] = torch.from_numpy((colors[near] * weight[..., None]).sum(1)).float()
    return inpaint(image, covered.float()).clamp(0, 1)


def _bound_uv(avatar: AvatarModel, body: BodyModel) -> np.ndarray | None:
    """Return each Gaussian's position (N, 2) on the UV square; None without a binding.

    NaN for Gaussians that are off the surface.
    """
    state = avatar.state()
    if "triangles" not in state or "weights" not in state:
        return None
    face = faces_of(state["triangles"].long(), body.faces)
    uv = (body.uv[body.uv_faces[face]] * state["weights"].float()[..., None]).sum(1)
    off = face < 0
    if "seed_joints" in state:
        off[len(off) - len(state["seed_joints"]) :] = True
    uv[off] = torch.nan
    return uv.numpy()


def _surface(vertices: torch.Tensor, body: BodyModel, uv_map: UVMap) -> torch.Tensor:
    """Return (n, 3) points of the mesh under the covered texels."""
    covered = uv_map.covered
    return barycentric(vertices, body.faces[uv_map.face_index[covered]], uv_map.barycentric[covered])
