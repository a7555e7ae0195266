"""What the commands that make a film share: their options, the film itself and what they print about it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarkit_cli.shared import print_json, say

if TYPE_CHECKING:
    from avatarkit.animation import Animation, LoadedAvatar
    from avatarkit.types.body import Motion
    from avatarkit.types.camera import Camera
    from avatarkit.utils.progress import Progress

__all__ = ["FilmBackground", "FilmCamera", "FilmFile", "make_film", "print_film", "read_view"]

FilmFile = Annotated[
    Path, typer.Option("-o", "--output", help="A video (.mp4 .mov .webm .mkv), or a folder of PNG files without suffix.")
]
FilmCamera = Annotated[str, typer.Option(help="Camera of the video.", metavar="front|orbit|FILE.json")]
FilmBackground = Annotated[str, typer.Option(help="A color, or transparent (.mov .webm, PNG).", metavar="COLOR")]


def read_view(camera: str) -> str | Camera:
    """Return the camera in a file, or the name of a view."""
    from avatarkit.io.camera_json import read_camera

    return read_camera(Path(camera)) if camera.endswith(".json") else camera


def make_film(
    avatar: LoadedAvatar,
    motion: Motion,
    view: str | Camera,
    pixels: tuple[int, int] | None,
    fps: float | None,
    background: str,
    output: Path,
    progress: Progress,
    keep_pose: str | None = None,
    audio: Path | None = None,
    mark: str | None = None,
) -> Animation:
    """Write the film, as large as ``pixels``, else as the camera in a file says, else as the photo; ``mark`` is text on it."""
    pixels = pixels or ((view.width, view.height) if not isinstance(view, str) else None)
    film = avatar.animate(motion, view, pixels, fps, background, keep_pose, audio)
    if mark is not None:
        from avatarkit_cli.trust.mark import marked_frames

        film.frames = marked_frames(film.frames, mark)
    film.save(output, progress)
    return film


def print_film(film: Animation, output: Path, started: float, as_json: bool, **more: Any) -> None:
    """Print where the film is; as JSON with its figures, ``more`` and the seconds since ``started`` (monotonic)."""
    if not as_json:
        say(str(output))
        return
    size = {"frames": film.count, "fps": film.fps, "width": film.size[0], "height": film.size[1]}
    print_json({"video": str(output), **more, **size, "seconds": round(time.monotonic() - started, 2)})
