"""Pairs outlines of the mesh with outlines in the picture: the person's, and that of bare skin."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import cKDTree

from avatarkit.geometry.mesh_graph import vertices_below
from avatarkit.interfaces import BodyModel
from avatarkit.types.body import SurfaceLandmarks
from avatarkit.types.camera import Camera
from avatarkit.types.mesh import MeshRendering
from avatarkit_exavatar.body.points import Identity, surface_points
from avatarkit_exavatar.fitting.residuals import Lines
from avatarkit_exavatar.observations.observation import Observation

__all__ = ["Border", "forearms", "hidden_vertices", "outline", "resize_alpha", "silhouette_weights"]

_REACH = 0.4  # head heights within which a border point may belong to a point of the mesh
_SCALP = 0.05  # say of the scalp
_CROP_MARGIN = 1.5  # pixels from the picture's edge within which a silhouette is the crop's, not the person's


def resize_alpha(alpha: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """(H, W) matte, or another map of the photo, on a smaller grid."""
    small = torch.nn.functional.interpolate(alpha[None, None], (height, width), mode="area")
    return small[0, 0]


def outline(mask: np.ndarray, smooth: float) -> tuple[np.ndarray, np.ndarray]:
    """Border pixels of a mask.

    Args:
        mask: (H, W) bool.
        smooth: pixels over which the border's direction is averaged.

    Returns:
        (n, 2) row and column, and (n, 2) outward unit normals (x, y).
    """
    inner = ndimage.binary_erosion(mask, np.ones((3, 3), bool), border_value=1)
    rows, columns = np.nonzero(mask & ~inner)
    soft = ndimage.gaussian_filter(mask.astype(np.float32), smooth, mode="nearest")
    normal = -np.stack([ndimage.sobel(soft, 1)[rows, columns], ndimage.sobel(soft, 0)[rows, columns]], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    return np.stack([rows, columns], 1), normal


def hidden_vertices(body: BodyModel, observation: Observation) -> torch.Tensor:
    """(V,) bool, vertices of hands, arms and legs that are not in the picture."""
    return vertices_below(body, *observation.hidden)


def silhouette_weights(body: BodyModel, observation: Observation) -> tuple[torch.Tensor, torch.Tensor]:
    """How much each vertex's silhouette says about the body: (V,) outside the matte and (V,) inside it.

    Hair hides the scalp. A part that was not seen is behind the body or behind something that is not the person's.
    """
    outside = torch.ones(len(body.skinning_indices))
    outside[(body.part("head") > 0.5) & (body.part("face") < 0.5)] = _SCALP
    outside[hidden_vertices(body, observation)] = 0.0
    return outside, outside


def forearms(body: BodyModel, bare: torch.Tensor, observation: Observation) -> torch.Tensor:
    """(V,) 0 to 1: how much the outline of bare skin, (V,) 0 to 1, says about each vertex: forearms that were seen.

    On other parts it ends at hair and collars.
    """
    lower = vertices_below(body, "left_elbow", "right_elbow")
    hands = torch.maximum(body.part("left_hand"), body.part("right_hand")) > 0.5
    return (2.0 * bare - 1.0).clamp(0.0, 1.0) * (lower & ~hands & ~hidden_vertices(body, observation))


class Border:
    """The outline of an area of the picture, ready to be matched many times."""

    def __init__(self, area: torch.Tensor, camera: Camera, head_pixels: float, longer_side: int) -> None:
        """``area``: (H, W) 0 to 1. ``longer_side``: pixels of the picture in which outlines are compared."""
        self.camera = camera
        self.small_camera = camera.scaled_to(longer_side)
        self.width, self.height = self.small_camera.width, self.small_camera.height
        self.to_picture = np.array([camera.width / self.width, camera.height / self.height])
        self.head = head_pixels
        self.inside = resize_alpha(area, self.width, self.height).numpy() > 0.5
        pixels, self.normal = outline(self.inside, 2.0)
        self.border = (pixels[:, ::-1] + 0.5) * self.to_picture
        self.tree = cKDTree(self._features(self.border, self.normal)) if len(pixels) else None

    def _features(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        return np.concatenate([points, 0.25 * self.head * normals], 1)

    def match(
        self,
        identity: Identity,
        drawn: MeshRendering,
        contour: tuple[np.ndarray, np.ndarray],
        vertex_weight: tuple[torch.Tensor, torch.Tensor],
        loose: bool,
        weight: float,
        count: int,
    ) -> Lines | None:
        """Return points on an outline of a posed mesh with their nearest points of the border.

        Args:
            identity: with the person's shape.
            drawn: the mesh, seen by ``small_camera``.
            contour: ``outline`` of an area of the mesh.
            vertex_weight: (V,) say of a point outside the picture's area and (V,) inside it.
            loose: inside the area clothes may cover the body, whose pose these points then do not change.
            weight: of each pixel of the outline.
            count: at most so many points.
        """
        if self.tree is None:
            return None
        face = drawn.face_index.numpy()
        pixels, normals = contour
        rows, columns = pixels.T
        points = (pixels[:, ::-1] + 0.5) * self.to_picture
        distance, nearest = self.tree.query(self._features(points, normals))
        distance = np.linalg.norm(self.border[nearest] - points, axis=1)
        corners = identity.body.faces[torch.from_numpy(face[rows, columns])]
        covered = self.inside[rows, columns]
        outer, inner = (share[corners].amin(1).numpy() for share in vertex_weight)
        trust = np.where(covered, inner, outer)
        edge = np.minimum.reduce([columns, rows, self.width - 1 - columns, self.height - 1 - rows])
        ok = (distance < _REACH * self.head) & (edge > _CROP_MARGIN) & (trust > 0)
        ok &= (normals * self.normal[nearest]).sum(1) > 0.5
        matched = np.nonzero(ok)[0]
        if len(matched) == 0:
            return None
        chosen = matched[np.linspace(0, len(matched) - 1, min(count, len(matched))).astype(int)]
        bary = drawn.barycentric[torch.from_numpy(rows[chosen]), torch.from_numpy(columns[chosen])]
        table = SurfaceLandmarks(corners[torch.from_numpy(chosen)], bary, torch.zeros(len(chosen)))
        hit = nearest[chosen]
        weights = trust[chosen] * (weight * len(matched) / len(chosen))  # however many of the pixels were chosen
        return Lines(
            points=surface_points(identity, table),
            camera=self.camera,
            target=torch.from_numpy(self.border[hit].astype(np.float32)),
            normal=torch.from_numpy(self.normal[hit].astype(np.float32)),
            covered=torch.from_numpy(covered[chosen] & loose),
            unit=self.head,
            weight=torch.from_numpy(weights.astype(np.float32)),
            scale=0.3,
        )
