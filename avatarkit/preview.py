"""``preview.png`` and ``preview.mp4``: the avatar in a few poses, turning, talking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch

from avatarkit.animation import LoadedAvatar, place
from avatarkit.options import Range
from avatarkit.pictures import save_png
from avatarkit.video import VideoWriter

__all__ = ["PreviewConfig", "write_preview"]


@dataclass(frozen=True)
class PreviewConfig:
    """The table ``[preview]`` of a recipe."""

    height: Annotated[int, Range(64, 2160)] = 384
    """Of the pictures and the film, in pixels."""
    seconds: Annotated[float, Range(0.1, 600)] = 4.0
    """Length of the film."""
    fps: Annotated[int, Range(1, 120)] = 15
    """Frames per second of the film."""
    motion: str = "talk"
    """Built-in motion that the film plays while the camera turns."""


def write_preview(avatar: LoadedAvatar, folder: Path, config: PreviewConfig, tell: Callable[[str, float], None]) -> None:
    """Writes both files.

    Args:
        avatar: to show. folder: where to. config: sizes. tell: told about every frame.
    """
    size = avatar.default_size(config.height)
    source = avatar.components.get("motions")
    names = source.names()
    motion = source.motion(config.motion if config.motion in names else names[0])
    poses = place(motion, avatar.photo_params, avatar.body)
    stills = [avatar.render(yaw=yaw, width=size[0], height=size[1])[..., :3] for yaw in (-25, 0, 25)]
    for part in (0.3, 0.7):
        stills.append(avatar.render(poses[int(part * (len(motion) - 1))], width=size[0], height=size[1])[..., :3])
    save_png(folder / "preview.png", torch.cat(stills, dim=1))

    count = max(2, round(config.seconds * config.fps))
    with VideoWriter(folder / "preview.mp4", size[0], size[1], config.fps) as video:
        for i in range(count):
            yaw = 20 * float(torch.sin(torch.tensor(2 * torch.pi * i / count)))
            frame = poses[min(len(motion) - 1, int(i / config.fps * motion.fps))]
            image = avatar.render(frame, yaw=yaw, width=size[0], height=size[1])[..., :3]
            video.write((image * 255).round().to(torch.uint8).numpy())
            tell(f"frame {i + 1} of {count}", (i + 1) / count)
