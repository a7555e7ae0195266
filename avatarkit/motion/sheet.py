"""Draws some frames of a motion, from the front and from the side, on one picture."""

from __future__ import annotations

from dataclasses import replace

import torch

from avatarkit.interfaces import BodyModel, Renderer
from avatarkit.io.image import shade_mesh
from avatarkit.types.body import Motion
from avatarkit.types.camera import front_camera, orbit
from avatarkit.types.mesh import Mesh

__all__ = ["contact_sheet"]

_TILE = 192  # pixels
_FRAMES = 8
_MARGIN = 1.15


def contact_sheet(motion: Motion, body: BodyModel, renderer: Renderer) -> torch.Tensor:
    """Return a picture (2 tiles high, up to 8 wide, 3) of the body in evenly chosen frames; below from the person's left.

    The body stays in the middle; its height over the ground is kept.

    Args:
        motion: any.
        body: its body model.
        renderer: draws the mesh.
    """
    count = min(len(motion), _FRAMES)
    chosen = torch.linspace(0, len(motion) - 1, count).round().long()
    params = motion.params[chosen]
    path = params.translation * torch.tensor([0.0, 1.0, 0.0])
    with torch.no_grad():
        vertices = body.vertices(replace(params, translation=path))
    low, high = vertices.amin((0, 1)), vertices.amax((0, 1))
    middle = (low + high) / 2
    camera = front_camera(_TILE, _TILE)
    away = float((high - low).max()) / 2 * _MARGIN * float(camera.K[0, 0]) / (_TILE / 2) + float((high - low)[2]) / 2
    T = camera.T_camera_world.clone()
    T[:3, 3] = -T[:3, :3] @ (middle + torch.tensor([0.0, 0.0, away]))
    camera = replace(camera, T_camera_world=T)
    rows = []
    for view in (camera, orbit(camera, middle, 90)):
        tiles = []
        for frame in vertices:
            color, mask = shade_mesh(renderer, Mesh(frame, body.faces), view)
            tiles.append(color + 1 - mask[..., None])
        rows.append(torch.cat(tiles, 1))
    return torch.cat(rows).clamp(0, 1)
