"""Compares the photo's texture on the tracked body with the frames of a clip.

Landmarks of trunk, neck and hair are accurate to a few pixels: the detector sees a person at 256 pixels, and its errors depend on
where it looks. The texture of cloth and hair shows far smaller movements. So the photo is projected onto the tracked body, and if
a frame shows its texture at a slightly different place, the body should be there. The comparison is always with the photo, so
errors do not accumulate, and what stands still in the picture stands still in the fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from avatarkit.interfaces import MeshRasterizer, Subject
from avatarkit.types.body import BodyParams, SurfaceLandmarks
from avatarkit.types.camera import Camera
from avatarkit.types.mesh import Mesh, MeshRendering, barycentric
from avatarkit_exavatar.body.points import Identity, Points, surface_points
from avatarkit_exavatar.fitting.residuals import Lines
from avatarkit_exavatar.observations.contour import resize_alpha

__all__ = ["PhotoTexture", "Sighting"]

_LONGEST = 480  # pixels of the pictures that are compared
_STEP = 0.07  # head heights between points
_INSIDE = 0.95  # of the matte, for pixels that are the person's without doubt
_OTHERWISE = ("face", "eyes", "left_hand", "right_hand", "mouth_inside", "teeth", "tongue")  # their landmarks are better
_EVEN, _FAINT = 6.0, 6.0  # pixels over which brightness is evened out; gray levels that are noise
_CONTRAST = 48.0  # gray levels of what is compared
_WINDOW = 15  # pixels
_SHOWN = 0.6  # of a point's window has to be the person's
_DEEP = 0.03  # meters behind the surface from which a point is hidden
_AGREE = 1.0  # pixels between a point and where the way there and back ends
_UNLIKE = 0.35  # mean difference of the windows, in their contrast, at which a match counts for little
_FARTHEST = 0.25  # head heights; more is a mistake
_PLAIN = 12.0  # squared gray levels per pixel at which an edge is half believed
_SCALE = 0.05  # head heights at which a point begins to count as an outlier
_FEWEST = 8


@dataclass(frozen=True)
class Sighting:
    """Where a frame shows points of the photo.

    Attributes:
        rows: (n,) numbers of the points. target: (n, 2) pixels.
        axes: (n, 2, 2) directions across the strongest edge at each point and along it, one in a row.
        trust: (n, 2) 0 to 1, what is known in these directions.
    """

    rows: torch.Tensor
    target: torch.Tensor
    axes: torch.Tensor
    trust: torch.Tensor


class PhotoTexture:
    """Points all over the visible surface of a photo, to be found again in frames.

    Args:
        identity: with the person's shape.
    """

    def __init__(self, subject: Subject, identity: Identity, rasterizer: MeshRasterizer, head_pixels: float) -> None:
        self._body, self._rasterizer, self._offsets = identity.body, rasterizer, subject.vertex_offsets
        camera = subject.camera.scaled_to(_LONGEST)
        self._head = head_pixels * camera.width / subject.camera.width
        vertices = self._body.vertices(subject.params, self._offsets)[0]
        drawn, self._places = rasterizer.render(Mesh(vertices, self._body.faces), camera), camera.project(vertices)
        alpha = resize_alpha(subject.matte.alpha, camera.width, camera.height).numpy()
        self._photo = _small((subject.photo.image * 255).round().to(torch.uint8).numpy(), camera)
        face = drawn.face_index.numpy()
        self._mine = ((alpha > _INSIDE) & (face >= 0)).astype(np.float32)
        self._seen = np.zeros(len(self._body.faces), bool)
        self._seen[face[face >= 0]] = True
        self._table = self._choose(drawn)
        points = surface_points(identity, self._table)
        self.points: Points = replace(points, rest=points.rest + self._on_surface(self._offsets))

    def _choose(self, drawn: MeshRendering) -> SurfaceLandmarks:
        """Points on a grid of the photo."""
        step = max(3, round(_STEP * self._head))
        rows, columns = np.mgrid[step // 2 : self._mine.shape[0] : step, step // 2 : self._mine.shape[1] : step].reshape(2, -1)
        other = torch.stack([self._body.part(name) for name in _OTHERWISE]).amax(0) > 0.5
        corners = self._body.faces[drawn.face_index[rows, columns].clamp_min(0)]
        mine = cv2.blur(self._mine, (_WINDOW, _WINDOW))[rows, columns] > _SHOWN
        chosen = torch.from_numpy(mine & (self._mine[rows, columns] > 0)) & ~other[corners].any(1)
        bary = drawn.barycentric[rows, columns][chosen].float()
        return SurfaceLandmarks(corners[chosen], bary, torch.zeros(int(chosen.sum())))

    def _on_surface(self, values: torch.Tensor) -> torch.Tensor:
        """(n, C) of the points, from (V, C) of the vertices."""
        return barycentric(values, self._table.triangles, self._table.barycentric)

    def find(self, image: np.ndarray, camera: Camera, params: BodyParams) -> Sighting | None:
        """Look for the points in a frame.

        Args:
            image: (H, W, 3) uint8.
            camera: of the frame.
            params: the body as it was tracked so far.

        Returns:
            None where next to nothing of the photo is found.
        """
        small = camera.scaled_to(_LONGEST)
        vertices = self._body.vertices(params.batched(), self._offsets)[0]
        drawn = self._rasterizer.render(Mesh(vertices, self._body.faces), small)
        frame = _small(image, small)
        carried, shown = self._carry(drawn, frame)
        points = self._on_surface(vertices)
        start = small.project(points).numpy().astype(np.float32)
        column, row = np.floor(start).astype(int).T
        inside = (column >= 0) & (row >= 0) & (column < small.width) & (row < small.height)
        column, row = column * inside, row * inside
        behind = small.to_camera(points)[:, 2].numpy() - drawn.depth.numpy()[row, column]
        usable = np.nonzero(inside & (cv2.blur(shown, (_WINDOW, _WINDOW))[row, column] > _SHOWN) & (behind < _DEEP))[0]
        if len(usable) < _FEWEST:
            return None
        picture, target = _evened(carried), _evened(frame)
        found, sure = _followed(picture, target, start[usable], _FARTHEST * self._head)
        if (sure > 0).sum() < _FEWEST:
            return None
        usable, found, sure = usable[sure > 0], found[sure > 0], sure[sure > 0]
        edges = cv2.cornerEigenValsAndVecs(carried, _WINDOW, 3)[row[usable], column[usable]]
        strength = edges[:, :2] / 4  # mean squared slope
        trust = sure[:, None] * strength / (strength + _PLAIN)
        return Sighting(
            rows=torch.from_numpy(usable),
            target=torch.from_numpy(found * (camera.width / small.width, camera.height / small.height)).float(),
            axes=torch.from_numpy(edges[:, 2:].reshape(-1, 2, 2).copy()),
            trust=torch.from_numpy(trust).float(),
        )

    def _carry(self, drawn: MeshRendering, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the photo on the body in gray, the frame (H, W) where there is none of it; and (H, W) 1 where there is."""
        face = drawn.face_index
        hit = (face >= 0) & torch.from_numpy(self._seen)[face.clamp_min(0)]
        origin = np.full((*face.shape, 2), -1.0, np.float32)
        corners = self._places[self._body.faces[face[hit]]]
        origin[hit.numpy()] = (corners * drawn.barycentric[hit][..., None]).sum(1).numpy() - 0.5
        shown = hit.numpy() & (cv2.remap(self._mine, origin[..., 0], origin[..., 1], cv2.INTER_LINEAR) > _INSIDE)
        carried = cv2.remap(self._photo, origin[..., 0], origin[..., 1], cv2.INTER_LINEAR)
        return np.where(shown, carried, frame), shown.astype(np.float32)

    def terms(self, sighting: Sighting, camera: Camera, head: float, weight: float) -> list[Lines]:
        """Return terms that keep the points where they were found, as far as their texture tells.

        Args:
            sighting: from ``find``.
            camera: of the frame.
            head: pixels that count as one.
            weight: of the mean over all points.
        """
        points = self.points[sighting.rows]
        return [
            Lines(
                points=points,
                camera=camera,
                target=sighting.target,
                normal=sighting.axes[:, k],
                covered=torch.zeros(len(sighting.rows), dtype=torch.bool),
                unit=head,
                weight=sighting.trust[:, k] * weight / len(self.points),
                scale=_SCALE,
            )
            for k in range(2)
        ]


def _small(image: np.ndarray, camera: Camera) -> np.ndarray:
    """(H, W) float32 gray levels of a picture (H, W, 3) uint8, in the size of a camera."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(gray, (camera.width, camera.height), interpolation=cv2.INTER_AREA).astype(np.float32)


def _evened(gray: np.ndarray) -> np.ndarray:
    """(H, W) uint8 with the same brightness and contrast everywhere: light falls differently in the photo and in a clip."""
    detail = gray - cv2.GaussianBlur(gray, (0, 0), _EVEN)
    contrast = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), _EVEN) + _FAINT**2)
    return np.clip(128 + _CONTRAST * detail / contrast, 0, 255).astype(np.uint8)


def _followed(before: np.ndarray, after: np.ndarray, start: np.ndarray, farthest: float) -> tuple[np.ndarray, np.ndarray]:
    """Where points (n, 2) of one picture are in another, in pixels, and (n,) how sure that is; 0 = not found."""
    there, found, unlike = _flow(before, after, start - 0.5)  # pixel centers are at whole numbers for OpenCV
    back, returned, _ = _flow(after, before, there)
    drift = np.linalg.norm(back + 0.5 - start, axis=1)
    moved = np.linalg.norm(there + 0.5 - start, axis=1)
    good = found & returned & (drift < _AGREE) & (moved < farthest)
    sure = np.zeros(len(start), np.float32)
    sure[good] = np.exp(-((unlike[good] / (_CONTRAST * _UNLIKE)) ** 2) - (2 * drift[good] / _AGREE) ** 2)
    return there + 0.5, sure


def _flow(before: np.ndarray, after: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (n, 2) by the pyramidal Lucas-Kanade method, each on its own; (n,) found, (n,) mean difference of the windows."""
    there, found, unlike = cv2.calcOpticalFlowPyrLK(  # type: ignore[call-overload]  # it takes None
        before, after, start, None, winSize=(_WINDOW, _WINDOW), maxLevel=2
    )
    return there, found[:, 0] > 0, unlike[:, 0]
