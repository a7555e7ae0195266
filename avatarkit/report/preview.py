"""``preview.png`` and ``preview.mp4``: the avatar in a few poses, turning, talking."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from avatarkit.animation import LoadedAvatar, place
from avatarkit.config.sections import PreviewConfig
from avatarkit.io.image import save_png
from avatarkit.io.video import VideoWriter
from avatarkit.utils.threads import prefetch

__all__ = ["write_preview"]


def write_preview(avatar: LoadedAvatar, folder: Path, config: PreviewConfig, tell: Callable[[str, float], None]) -> None:
    """Write both files.

    Args:
        avatar: avatar to show.
        folder: output folder.
        config: sizes.
        tell: receives a report for every frame.
    """
    width, height = avatar.default_size(config.height)
    source = avatar.components.get("motions")
    names = source.names()
    motion = source.motion(config.motion if config.motion in names else names[0])
    poses = place(motion, avatar.photo_params, avatar.body)
    stills = [avatar.render(yaw=yaw, width=width, height=height)[..., :3] for yaw in (-25, 0, 25)]
    stills += [avatar.render(poses[int(k * (len(motion) - 1))], width=width, height=height)[..., :3] for k in (0.3, 0.7)]
    save_png(folder / "preview.png", torch.cat(stills, dim=1))

    count = max(2, round(config.seconds * config.fps))

    def draw(i: int) -> torch.Tensor:
        yaw, at = 20 * float(torch.sin(torch.tensor(2 * torch.pi * i / count))), int(i / config.fps * motion.fps)
        return (avatar.render(poses[min(at, len(motion) - 1)], yaw=yaw, width=width, height=height)[..., :3] * 255).round().byte()

    with VideoWriter(folder / "preview.mp4", width, height, config.fps) as video:
        for i, image in enumerate(prefetch(draw, range(count), threads=2)):
            video.write(image.numpy())
            tell(f"frame {i + 1} of {count}", (i + 1) / count)
