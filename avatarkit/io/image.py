"""Small helpers for pictures on disk and in pages."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

from avatarkit.interfaces import Renderer
from avatarkit.types.camera import Camera
from avatarkit.types.mesh import Mesh, vertex_normals
from avatarkit.utils.files import write_bytes

__all__ = ["encode_png", "load_png", "on_white", "overlay", "save_png", "shade_mesh"]


def encode_png(image: torch.Tensor) -> bytes:
    """Return (H, W, 3 or 4) or (H, W) float 0 to 1 -> PNG bytes, without metadata."""
    from PIL import Image

    array = (image.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format="PNG")
    return stream.getvalue()


def load_png(path: Path) -> torch.Tensor:
    """Return (H, W, C) float 0 to 1 of a PNG file of ours."""
    from PIL import Image

    with Image.open(path, formats=("PNG",)) as image:
        return torch.from_numpy(np.array(image)).float() / 255


def save_png(path: Path, image: torch.Tensor) -> None:
    """Write ``encode_png`` of a picture, whole or not at all.

    Raises:
        StoreError: no space, no permission.
    """
    write_bytes(path, encode_png(image))


def on_white(colors: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """Return colors (..., 3) over white, by coverage (...)."""
    return colors * alpha[..., None] + (1 - alpha[..., None])


def shade_mesh(renderer: Renderer, mesh: Mesh, camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a gray, softly lit mesh: (H, W, 3) colors and (H, W) coverage."""
    with torch.no_grad():
        drawn = renderer.meshes.render(mesh, camera)
        face = drawn.face_index.clamp(min=0)
        normals = vertex_normals(mesh.vertices, mesh.faces)[mesh.faces[face]]
        normal = torch.nn.functional.normalize((normals * drawn.barycentric[..., None]).sum(-2), dim=-1)
        light = torch.nn.functional.normalize(torch.tensor([0.3, 0.5, 1.0]), dim=0).to(normal)
        shade = 0.35 + 0.65 * (normal @ light).clamp(min=0)
        color = shade[..., None] * torch.tensor([0.80, 0.82, 0.86], device=shade.device)
        return color * (drawn.face_index >= 0)[..., None], drawn.mask


def overlay(image: torch.Tensor, renderer: Renderer, mesh: Mesh, camera: Camera) -> torch.Tensor:
    """Return the mesh over a picture (H, W, 3), half transparent."""
    color, mask = shade_mesh(renderer, mesh, camera)
    weight = 0.7 * mask[..., None]
    return image * (1 - weight) + color * weight
