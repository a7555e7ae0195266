"""Estimates how far hair and clothes extend beyond the body mesh, and which label pixels are therefore unreliable.

A label shows the bare body mesh. Where the photo's matte extends beyond it, the person is larger than in the label: there the
label must neither color nor empty a pixel, or it would remove the hair.
"""

from __future__ import annotations

import torch
from scipy.ndimage import distance_transform_edt

from avatarkit.geometry.mesh_graph import mesh_edges, screened_poisson, smoothstep
from avatarkit.interfaces import BodyModel, Renderer
from avatarkit.types.camera import Camera
from avatarkit.types.mesh import Mesh, MeshRendering, vertex_normals
from avatarkit.types.subject import Subject

__all__ = ["overhang", "rim_confidence"]

_WORKING_SIZE = 640  # pixels along the photo's longer side
_SLACK = 1.25  # hair that is 4 cm thick from the front may be 5 cm thick from the side
_LEAST = 0.004  # meters; no fit is better than this
_BARE = ("face", "lips", "eyelids", "eyes", "teeth", "tongue", "mouth_inside", "left_hand", "right_hand")
_SOFT = 0.015  # meters over which the background becomes certain


def overhang(subject: Subject, vertices: torch.Tensor, body: BodyModel, renderer: Renderer) -> torch.Tensor:
    """(V,) meters that the matte stands out from the mesh near each vertex; spread where the photo shows no silhouette.

    Args:
        subject: the tracked photo.
        vertices: (V, 3) world, in the photo's pose.
        body: its model.
        renderer: draws the mesh.
    """
    camera = subject.camera.scaled_to(_WORKING_SIZE, most=2.0)
    drawn = renderer.meshes.render(Mesh(vertices, body.faces), camera)
    hit = drawn.face_index >= 0
    found = torch.zeros(len(vertices))
    if not hit.any():
        return found + _LEAST
    alpha = torch.nn.functional.interpolate(
        subject.matte.alpha[None, None], (camera.height, camera.width), mode="bilinear", antialias=True
    )[0, 0]
    vertex, away = _nearest(drawn, body.faces, camera)
    bare = (alpha > 0.5) & ~hit
    found = found.scatter_reduce(0, vertex[bare], away[bare], "amax")
    silhouette = torch.zeros(len(vertices), dtype=torch.bool)
    silhouette[vertex[~hit & (away < 3 * drawn.depth[hit].median() / camera.K[0, 0])]] = True
    silhouette[vertex[bare]] = True
    bare = torch.stack([body.part(name) for name in _BARE]).amax(0) > 0.5
    mirror = body.mirror()[0]
    found = torch.maximum(found, found[mirror] * ~silhouette)
    known = (silhouette | silhouette[mirror]).float()
    edges = mesh_edges(body.faces)
    for _ in range(2):  # the pixels of a lock of hair are nearest to a few vertices only
        wide = found.clone()
        for a, b in ((0, 1), (1, 0)):
            wide = wide.scatter_reduce(0, edges[:, a], found[edges[:, b]], "amax")
        found = torch.where(known > 0, wide, found)
    mean = (found * known).sum() / known.sum().clamp(min=1)
    found, known = torch.where(bare, 0.0, found), known.masked_fill(bare, 1.0)
    weak = torch.full_like(found, 1e-3)
    smooth = screened_poisson(edges, torch.ones(len(edges)), found[:, None], 0.3 * known, mean.expand(len(found), 1), weak)
    return _LEAST + _SLACK * smooth[:, 0]


def rim_confidence(
    drawn: MeshRendering, mesh: Mesh, camera: Camera, thickness: torch.Tensor, renderer: Renderer
) -> torch.Tensor:
    """(H, W) 0 to 1: 0 wherever hair or cloth may stand out from the mesh, 1 well inside of it and far away.

    Args:
        drawn: the mesh as ``camera`` sees it.
        mesh: the mesh that was drawn.
        camera: the camera that drew it.
        thickness: (V,) meters, from ``overhang``: the mesh, grown by it, holds all hair and cloth.
        renderer: draws the grown mesh.
    """
    hit = drawn.face_index >= 0
    grown = Mesh(mesh.vertices + thickness[:, None] * vertex_normals(mesh.vertices, mesh.faces), mesh.faces)
    reach = renderer.meshes.render(grown, camera)
    held = reach.face_index >= 0
    if not held.any():
        return torch.ones(hit.shape)
    pixel = float(reach.depth[held].median() / camera.K[0, 0])
    away = (_distance(~(hit | held)) - 1.0) * pixel  # the pixel beside the border is part of it
    outside = smoothstep(away, 0.0, max(_SOFT, 2.0 * pixel))
    # Inside, something that stands out in front of the surface may hide it: a wide sleeve the chest.
    own = (thickness[mesh.faces[drawn.face_index.clamp(min=0)]] * drawn.barycentric).sum(-1)
    hidden = hit & held & (reach.depth < drawn.depth - 1.2 * own - 0.02)
    free = torch.nn.functional.avg_pool2d((~hidden)[None, None].float(), 5, 1, 2, count_include_pad=False)[0, 0]
    inside = free * smoothstep(_distance(hit), 0.0, 2.5)
    return torch.where(hit, inside, outside)


def _distance(mask: torch.Tensor) -> torch.Tensor:
    """(H, W) pixels to the nearest place where ``mask`` is False; large where there is none."""
    if bool(mask.all()):
        return torch.full(mask.shape, 1e6)
    return torch.from_numpy(distance_transform_edt(mask.numpy())).float()


def _nearest(drawn: MeshRendering, faces: torch.Tensor, camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:
    """For each pixel the vertex at the nearest covered pixel (H, W), and how far that is in meters (H, W)."""
    hit = drawn.face_index >= 0
    distance, (row, column) = distance_transform_edt(~hit.numpy(), return_indices=True)
    row, column = torch.from_numpy(row), torch.from_numpy(column)
    corner = drawn.barycentric.argmax(-1)
    vertex = faces[drawn.face_index.clamp(min=0), corner][row, column]
    meters = torch.from_numpy(distance).float() * drawn.depth[row, column] / camera.K[0, 0]
    return vertex, meters
