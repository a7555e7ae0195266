"""Pairs the mesh's silhouette with the matte's border."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import cKDTree

from avatarkit.geometry.mesh_graph import vertices_below
from avatarkit.interfaces import BodyModel, MeshRasterizer
from avatarkit.types.body import SurfaceLandmarks
from avatarkit.types.camera import Camera
from avatarkit.types.mesh import Mesh
from avatarkit.types.subject import Matte
from avatarkit_exavatar.body.points import Identity, surface_points
from avatarkit_exavatar.fitting.residuals import Lines
from avatarkit_exavatar.observations.observation import Observation

__all__ = ["MatteBorder", "hidden_vertices", "outline", "resize_alpha", "silhouette_weights"]

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


class MatteBorder:
    """The person's outline in the picture, ready to be matched many times."""

    def __init__(self, matte: Matte, camera: Camera, head_pixels: float, longer_side: int) -> None:
        self.camera = camera
        self.small_camera = camera.scaled_to(longer_side)
        self.width, self.height = self.small_camera.width, self.small_camera.height
        self.to_picture = np.array([camera.width / self.width, camera.height / self.height])
        self.head = head_pixels
        self.inside = resize_alpha(matte.alpha, self.width, self.height).numpy() > 0.5
        pixels, self.normal = outline(self.inside, 2.0)
        self.border = (pixels[:, ::-1] + 0.5) * self.to_picture
        self.tree = cKDTree(self._features(self.border, self.normal)) if len(pixels) else None

    def _features(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        return np.concatenate([points, 0.25 * self.head * normals], 1)

    def match(
        self,
        identity: Identity,
        vertices: torch.Tensor,
        rasterizer: MeshRasterizer,
        vertex_weight: tuple[torch.Tensor, torch.Tensor],
        inside_weight: float,
        weight: float,
        count: int,
    ) -> Lines | None:
        """Return the silhouette of a posed mesh with its nearest border points.

        Args:
            identity: with the person's shape.
            vertices: (V, 3) posed mesh in the world.
            rasterizer: draws meshes.
            vertex_weight: of ``silhouette_weights``.
            inside_weight: share that counts where the mesh is inside the matte.
            weight: of the mean.
            count: at most so many points.
        """
        if self.tree is None:
            return None
        body = identity.body
        drawn = rasterizer.render(Mesh(vertices, body.faces), self.small_camera)
        face = drawn.face_index.numpy()
        pixels, normals = outline(face >= 0, 1.5)
        rows, columns = pixels.T
        points = (pixels[:, ::-1] + 0.5) * self.to_picture
        distance, nearest = self.tree.query(self._features(points, normals))
        distance = np.linalg.norm(self.border[nearest] - points, axis=1)
        corners = body.faces[torch.from_numpy(face[rows, columns])]
        covered = self.inside[rows, columns]
        outer, inner = (share[corners].amin(1).numpy() for share in vertex_weight)
        trust = np.where(covered, inside_weight * inner, outer)
        edge = np.minimum.reduce([columns, rows, self.width - 1 - columns, self.height - 1 - rows])
        ok = (distance < _REACH * self.head) & (edge > _CROP_MARGIN) & (trust > 0)
        ok &= (normals * self.normal[nearest]).sum(1) > 0.5
        chosen = np.nonzero(ok)[0]
        if len(chosen) == 0:
            return None
        chosen = chosen[np.linspace(0, len(chosen) - 1, min(count, len(chosen))).astype(int)]
        bary = drawn.barycentric[torch.from_numpy(rows[chosen]), torch.from_numpy(columns[chosen])]
        table = SurfaceLandmarks(corners[torch.from_numpy(chosen)], bary, torch.zeros(len(chosen)))
        hit = nearest[chosen]
        # Every silhouette pixel has the same say, however many of them were picked; matched ones out of all of them.
        share = weight / len(chosen) * (len(np.nonzero(ok)[0]) / max(1, len(ok)))
        return Lines(
            points=surface_points(identity, table),
            camera=self.camera,
            target=torch.from_numpy(self.border[hit].astype(np.float32)),
            normal=torch.from_numpy(self.normal[hit].astype(np.float32)),
            covered=torch.from_numpy(covered[chosen]),
            unit=self.head,
            weight=torch.from_numpy((trust[chosen] * share).astype(np.float32)),
            scale=0.3,
        )
