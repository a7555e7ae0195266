"""The same motion on several avatars side by side, as in the paper's Fig. 5.

    python benchmarks/cross_identity.py ada.avatar bob.avatar -o both.mp4 --motion talk
    python benchmarks/cross_identity.py ada.avatar bob.avatar -o both.mp4 --video me.mp4

With ``--video`` the person who drives them stands at the left, tracked once.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from avatarkit.animation import LoadedAvatar, load
from avatarkit.io.video import VideoWriter, read_frames
from avatarkit.metrics import resized
from avatarkit.tracking import relative, track_video
from avatarkit.types.body import Motion
from avatarkit_cli.shared import find_motion


def panels(avatars: Sequence[LoadedAvatar], motion: Motion, height: int, fps: float) -> Iterator[list[torch.Tensor]]:
    """For each frame the avatars' pictures (height, w, 3), each in the shape of its photo."""
    sizes = [_size(a.photo_camera.width / a.photo_camera.height, height) for a in avatars]
    films = [a.animate(motion, "front", size, fps) for a, size in zip(avatars, sizes, strict=True)]
    for frames in zip(*films, strict=True):
        yield [frame.image[..., :3].cpu() for frame in frames]


def driver(video: Path, height: int, fps: float, count: int) -> Iterator[torch.Tensor]:
    """``count`` frames of the video that drives, (height, w, 3)."""
    for number, (_, image) in enumerate(read_frames(video, fps, 1280)):
        if number == count:
            return
        picture = torch.from_numpy(image).float() / 255
        yield resized(picture, *_size(picture.shape[1] / picture.shape[0], height))


def _size(aspect: float, height: int) -> tuple[int, int]:
    return 2 * round(height * aspect / 2), height


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatars", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--motion", default="talk", help="a built-in motion or a motion file")
    source.add_argument("--video", type=Path, help="move like the person in this video")
    parser.add_argument("--height", type=int, default=384)
    parser.add_argument("--fps", type=float, default=15)
    args = parser.parse_args()
    avatars = [load(path) for path in args.avatars]
    if args.video:
        motion = relative(track_video(args.video, avatars[0].components, lambda message, part: None).motion)
    else:
        motion = find_motion(args.motion, avatars[0].components)
    height = 2 * (args.height // 2)
    count = max(1, round(len(motion) / motion.fps * args.fps))
    rows = (torch.cat(pictures, 1) for pictures in panels(avatars, motion, height, args.fps))
    if args.video:
        rows = (torch.cat(pair, 1) for pair in zip(driver(args.video, height, args.fps, count), rows, strict=False))
    first = next(rows)
    with VideoWriter(args.output, first.shape[1], height, args.fps) as writer:
        for row in itertools.chain([first], rows):
            writer.write((row.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
    print(args.output)


if __name__ == "__main__":
    main()
