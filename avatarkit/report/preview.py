"""``preview.png`` and ``preview.mp4``: the avatar in a few poses, turning, talking."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from avatarkit.animation import LoadedAvatar, place
from avatarkit.config.sections import PreviewConfig
from avatarkit.io.image import save_png
from avatarkit.io.video import VideoWriter

__all__ = ["write_preview"]


def write_preview(avatar: LoadedAvatar, folder: Path, config: PreviewConfig, tell: Callable[[str, float], None]) -> None:
    """Write both files.

    Args:
        avatar: avatar to show.
        folder: output folder.
        config: sizes.
        tell: receives a report for every frame.
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
