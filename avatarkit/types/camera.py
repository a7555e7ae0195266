"""Pinhole cameras in OpenCV axes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

__all__ = ["Camera", "default_focal", "front_camera", "orbit"]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: x right, y down, z forward; pixel centers at +0.5.

    Attributes:
        K: (3, 3) float32 intrinsics in pixels.
        T_camera_world: (4, 4) float32, world to camera, meters. The world is y up.
        width: image width in pixels.
        height: image height in pixels.
    """

    K: torch.Tensor
    T_camera_world: torch.Tensor
    width: int
    height: int

    @property
    def position(self) -> torch.Tensor:
        """(3,) center of projection in the world."""
        R, t = self.T_camera_world[:3, :3], self.T_camera_world[:3, 3]
        return -R.T @ t

    def to_camera(self, points: torch.Tensor) -> torch.Tensor:
        """Transform world points (..., 3) to camera space (..., 3)."""
        return points @ self.T_camera_world[:3, :3].T + self.T_camera_world[:3, 3]

    def project(self, points: torch.Tensor) -> torch.Tensor:
        """Project world points (..., 3) to pixels (..., 2), x then y.

        Points nearer than 1 cm are clamped.
        """
        c = self.to_camera(points)
        z = c[..., 2:].clamp(min=0.01)
        focal = torch.stack([self.K[0, 0], self.K[1, 1]])
        return c[..., :2] / z * focal + self.K[:2, 2]

    def resized(self, width: int, height: int) -> Camera:
        """Return the camera of the same view on another pixel grid.

        The field of view stays; the aspect ratio may change.
        """
        scale = torch.tensor(
            [[width / self.width], [height / self.height], [1.0]],
            dtype=self.K.dtype,
            device=self.K.device,
        )
        return replace(self, K=self.K * scale, width=width, height=height)

    def scaled_to(self, longest: int, most: float = 1.0) -> Camera:
        """Return the camera of the picture scaled to a longer side in pixels.

        The scale is at most ``most``.
        """
        scale = min(longest / max(self.width, self.height), most)
        return self.resized(round(self.width * scale), round(self.height * scale))

    def cropped(self, x: float, y: float, width: int, height: int) -> Camera:
        """Return the camera of the window whose top left corner is the pixel (x, y)."""
        K = self.K.clone()
        K[0, 2] -= x
        K[1, 2] -= y
        return replace(self, K=K, width=width, height=height)

    def to(self, device: torch.device | str) -> Camera:
        """Return the same camera with its tensors on ``device``."""
        return replace(self, K=self.K.to(device), T_camera_world=self.T_camera_world.to(device))


def default_focal(width: int, height: int) -> float:
    """Return the default focal length in pixels: 42 degrees across the longer side."""
    return 1.3 * max(width, height)


def front_camera(width: int, height: int, focal: float | None = None) -> Camera:
    """Return a camera at the world's origin that looks along -z with y up.

    A person at (0, 0, -d) who faces +z looks into it; the person's left side is on the picture's right.
    """
    f = default_focal(width, height) if focal is None else focal
    K = torch.tensor([[f, 0.0, width / 2], [0.0, f, height / 2], [0.0, 0.0, 1.0]])
    return Camera(K, torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0])), width, height)


def orbit(camera: Camera, center: torch.Tensor, yaw: float, pitch: float = 0.0) -> Camera:
    """Move a camera on a sphere around a point.

    Args:
        camera: camera to start from.
        center: (3,) world point that keeps its position in the picture.
        yaw: degrees about the world's y axis; positive moves the camera to the picture's right.
        pitch: degrees; positive raises the camera.
    """
    a, b = math.radians(yaw), math.radians(pitch)
    Ry = torch.tensor([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    R0 = camera.T_camera_world[:3, :3].cpu()
    right = R0[0]  # camera x axis in the world
    K = torch.tensor([[0, -right[2], right[1]], [right[2], 0, -right[0]], [-right[1], right[0], 0]])
    Rp = torch.eye(3) + math.sin(-b) * K + (1 - math.cos(b)) * (K @ K)
    T_world_camera = torch.eye(4)
    T_world_camera[:3, :3] = Ry @ Rp @ R0.T
    T_world_camera[:3, 3] = Ry @ Rp @ (camera.position.cpu() - center.cpu()) + center.cpu()
    T = torch.linalg.inv(T_world_camera)
    return replace(camera, T_camera_world=T.to(camera.K.device))
