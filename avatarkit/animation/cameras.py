"""Where cameras stand: what they show of a photo, and how they follow a person."""

from __future__ import annotations

import torch

from avatarkit.types.camera import Camera

__all__ = ["follow", "frame_window"]

_SLACK = 0.08  # meters of swaying and leaning that the camera ignores
_EASE = 0.25  # seconds over which the camera's path is smoothed


def follow(moved: torch.Tensor, fps: float) -> torch.Tensor:
    """Return the camera displacements that keep a moving person in view.

    Args:
        moved: (T, 3) meters from where the person stood.
        fps: frames per second.

    Returns:
        (T, 3) meters: zero for swaying, leaning or hopping, a smoothed path for walking, crouching or bending down.
    """
    reach = min(max(1, round(2.5 * _EASE * fps)), 10_000)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / (_EASE * fps)) ** 2)
    path = moved.detach().cpu().double()
    padded = torch.cat([path[:1].expand(reach, 3), path, path[-1:].expand(reach, 3)])
    path = torch.nn.functional.conv1d(padded.T[:, None], (kernel / kernel.sum())[None, None])[:, 0].T
    far = path.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    excess = (far - _SLACK).clamp(min=0)
    return (path / far * excess**2 / (excess + _SLACK / 2)).to(moved)  # smooth onset


def frame_window(box: tuple[float, float, float, float], camera: Camera, aspect: float) -> tuple[float, float, float, float]:
    """Return the part of the photo's image plane to show at another aspect ratio.

    At the photo's own aspect ratio it is the photo's frame. Otherwise the person is framed with a margin; if the photo cuts the
    person off at the bottom, the window ends there as long as the shoulders fit.

    Args:
        box: box of the person in the photo.
        camera: camera of the photo.
        aspect: width over height.

    Returns:
        x, y, width, height in pixels of the photo; may extend beyond it.
    """
    W, H = camera.width, camera.height
    if abs(aspect * H / W - 1) < 0.03:
        return 0.0, 0.0, float(W), float(H)
    x0, y0, x1, y1 = box
    margin = 0.06 * (y1 - y0)
    top = y0 - margin
    cut = y1 > H - 3
    bottom = float(H) if cut else y1 + margin
    height = bottom - top
    width = height * aspect
    needed = (0.8 if cut else 1.1) * (x1 - x0)
    if width < needed:
        width, height = needed, needed / aspect
    center = (x0 + x1) / 2
    if not cut:
        top = (y0 + y1) / 2 - height / 2
    return center - width / 2, top, width, height
