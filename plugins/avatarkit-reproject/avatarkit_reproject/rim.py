"""How far hair and clothes stand out from the body mesh, and which label pixels must not be believed because of it.

A label shows the naked mesh. Where the photo's matte lies outside of it, the person is larger than the label says:
there the label may neither colour nor empty a pixel, or it would shave the hair off.
"""

from __future__ import annotations

import torch
from scipy.ndimage import distance_transform_edt

from avatarkit.camera import Camera
from avatarkit.interfaces import BodyModel, Renderer
from avatarkit.mesh import Mesh, MeshRendering
from avatarkit.subject import Subject
from avatarkit.surface import mesh_edges, smoothstep, spread

__all__ = ["overhang", "rim_confidence"]

_WORKING_SIZE = 640  # pixels along the photo's longer side
_SLACK = 1.25  # hair that is 4 cm thick from the front may be 5 cm thick from the side
_LEAST = 0.004  # metres; no fit is better than this


def overhang(subject: Subject, vertices: torch.Tensor, body: BodyModel, renderer: Renderer) -> torch.Tensor:
    """(V,) metres that the matte stands out from the mesh near each vertex; spread where the photo shows no silhouette.

    Args:
        subject: the tracked photo.
        vertices: (V, 3) world, in the photo's pose.
        body: its model. renderer: draws the mesh.
    """
    photo = subject.photo
    scale = min(_WORKING_SIZE / max(photo.height, photo.width), 2.0)
    camera = subject.camera.resized(round(photo.width * scale), round(photo.height * scale))
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
    bare_skin = (body.part("face") > 0.5) | (body.part("left_hand") > 0.5) | (body.part("right_hand") > 0.5)
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
    found, known = torch.where(bare_skin, 0.0, found), known.masked_fill(bare_skin, 1.0)
    weak = torch.full_like(found, 1e-3)
    smooth = spread(edges, torch.ones(len(edges)), found[:, None], 0.3 * known, mean.expand(len(found), 1), weak)
    return _LEAST + _SLACK * smooth[:, 0]


def rim_confidence(
    drawn: MeshRendering, faces: torch.Tensor, camera: Camera, thickness: torch.Tensor
) -> torch.Tensor:
    """(H, W) 0 to 1: 0 on both sides of silhouettes as far as hair or cloth may reach, 1 inside and far away.

    Args:
        drawn: the mesh. faces: (F, 3). camera: of the picture.
        thickness: (V,) metres, from ``overhang``.
    """
    hit = drawn.face_index >= 0
    if not hit.any():
        return torch.ones(hit.shape)
    vertex, away = _nearest(drawn, faces, camera)
    reach = thickness[vertex]
    for _ in range(3):  # neighbouring vertices differ, and would draw rays
        reach = torch.nn.functional.avg_pool2d(reach[None, None], 15, 1, 7, count_include_pad=False)[0, 0]
    pixel = drawn.depth[hit].median() / camera.K[0, 0]
    outside = smoothstep(away / torch.maximum(reach, 1.5 * pixel), 1.0, 1.6)
    depth = torch.where(hit, drawn.depth, torch.tensor(torch.inf))
    edge = torch.zeros_like(hit)
    for axis in (0, 1):
        n = depth.shape[axis]
        a, b = depth.narrow(axis, 0, n - 1), depth.narrow(axis, 1, n - 1)
        limit = 0.03 + 2.0 * pixel
        edge.narrow(axis, 0, n - 1).logical_or_(b - a > limit)  # marks the nearer side
        edge.narrow(axis, 1, n - 1).logical_or_(a - b > limit)
    if not edge.any():
        return torch.where(hit, torch.ones_like(reach), outside)
    distance, (row, column) = distance_transform_edt(~edge.numpy(), return_indices=True)
    row, column = torch.from_numpy(row), torch.from_numpy(column)
    near_edge = torch.from_numpy(distance).float() * pixel
    edge_reach = torch.maximum(thickness[vertex[row, column]] * 0.3, 1.5 * pixel)
    inside = smoothstep(near_edge / edge_reach, 0.2, 1.2)
    return torch.where(hit, inside, outside)


def _nearest(drawn: MeshRendering, faces: torch.Tensor, camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:
    """For each pixel the vertex at the nearest covered pixel (H, W), and how far that is in metres (H, W)."""
    hit = drawn.face_index >= 0
    distance, (row, column) = distance_transform_edt(~hit.numpy(), return_indices=True)
    row, column = torch.from_numpy(row), torch.from_numpy(column)
    corner = drawn.barycentric.argmax(-1)
    vertex = faces[drawn.face_index.clamp(min=0), corner][row, column]
    metres = torch.from_numpy(distance).float() * drawn.depth[row, column] / camera.K[0, 0]
    return vertex, metres
