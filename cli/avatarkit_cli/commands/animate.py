"""``avatarkit animate``: renders a video of an avatar."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avatarkit_cli.film import FilmBackground, FilmCamera, FilmFile, make_film, print_film, read_view
from avatarkit_cli.progress import make_progress
from avatarkit_cli.shared import (
    Anyway,
    Device,
    JointMap,
    JsonFlag,
    Mark,
    NoSign,
    PluginFiles,
    Sign,
    Size,
    SpeechSettings,
    Up,
    find_motion,
    load_registry,
    named_files,
    parse_size,
    tell,
)

if TYPE_CHECKING:
    from avatarkit.animation import LoadedAvatar
    from avatarkit.types.body import Motion
    from avatarkit.utils.progress import Progress

__all__ = ["animate"]


def animate(
    avatar: Annotated[Path, typer.Argument(help="An avatar's folder.", metavar="NAME.avatar")],
    output: FilmFile,
    motion: Annotated[
        str | None, typer.Option(help="A built-in motion, or a motion file. [default: talk]", metavar="NAME|FILE")
    ] = None,
    video: Annotated[
        Path | None, typer.Option(help="Move like the person in this video; its sound goes along.", metavar="FILE")
    ] = None,
    audio: Annotated[
        Path | None,
        typer.Option(help="Talk along with this sound file, which goes along; with --video, by the mouth only.", metavar="FILE"),
    ] = None,
    text: Annotated[str | None, typer.Option(help="With --audio: the English text that is spoken in it.", metavar="TEXT")] = None,
    subtitles: Annotated[
        Path | None, typer.Option(help="With --audio: what is spoken in it, with times (.srt .vtt).", metavar="FILE")
    ] = None,
    style: Annotated[
        str | None, typer.Option(help="With --audio: how much arms, head and face move. [default: lively]", metavar="calm|lively")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="With --audio: another seed gives other gestures. [default: 0]", min=0)] = None,
    driver: Annotated[str | None, typer.Option(help="With --audio: a speech driver of a plugin.", metavar="NAME")] = None,
    settings: SpeechSettings = None,
    sound: Annotated[bool, typer.Option("--sound/--no-sound", help="Put the sound of --audio or --video into the film.")] = True,
    keep_pose: Annotated[
        str | None,
        typer.Option(help="Part that stays as in the photo. [default: what the motion does not set]", metavar="legs|trunk|none"),
    ] = None,
    up: Up = None,
    joint_map: JointMap = None,
    camera: FilmCamera = "front",
    size: Size = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second. [default: the motion's]", min=1, max=240)] = None,
    background: FilmBackground = "#ffffff",
    mark: Mark = None,
    sign: Sign = None,
    no_sign: NoSign = False,
    anyway: Anyway = False,
    device: Device = "auto",
    plugin: PluginFiles = None,
    as_json: JsonFlag = False,
) -> None:
    """Play a motion with an avatar."""
    from avatarkit.errors import ConfigError
    from avatarkit.utils.files import check_output
    from avatarkit_cli.trust.mark import check_mark

    check_mark(mark)
    check_output(output, avatar, video, audio, subtitles, joint_map, *named_files(motion, camera), *(plugin or ()))
    if motion is not None and (video is not None or audio is not None):
        raise ConfigError("Use only one of --motion, --video and --audio; only --video and --audio go together.")
    if motion is None and (up is not None or joint_map is not None):
        raise ConfigError("--up and --joint-map are for motion files: use them with --motion FILE.")
    if keep_pose not in (None, "legs", "trunk", "none"):
        raise ConfigError(f"--keep-pose {keep_pose!r} is unknown: use legs, trunk or none.")
    spoken = {"--text": text, "--subtitles": subtitles, "--style": style, "--seed": seed, "--driver": driver, "--set": settings}
    for option in (name for name, value in spoken.items() if value is not None and audio is None):
        raise ConfigError(f"{option} is for a sound file: use it with --audio FILE.")
    pixels = parse_size(size)
    registry = load_registry(plugin, sign, no_sign, anyway)

    from avatarkit.animation import load
    from avatarkit.io.audio import has_sound
    from avatarkit.motion.mixing import with_mouth

    started = time.monotonic()
    with make_progress() as progress:
        with progress.stage("loading"):
            loaded = load(avatar, registry, device)
            view = read_view(camera)

        def talk(file: Path) -> Motion:
            with progress.stage("listening"):
                return loaded.speech(file, text or "", subtitles, style or "lively", seed or 0, driver, fps, settings or ())

        if video is not None:
            played = _from_video(video, loaded, progress)
            if audio is not None:
                played = with_mouth(played, talk(audio), loaded.body)
        elif audio is not None:
            played = talk(audio)
        else:
            played = _by_name(motion, loaded, up, joint_map)
        heard = audio or (video if video is not None and has_sound(video) else None)
        audible = heard if sound else None
        film = make_film(loaded, played, view, pixels, fps, background, output, progress, keep_pose, audible, mark)
    print_film(film, output, started, as_json, motion=played.name)


def _by_name(name: str | None, avatar: LoadedAvatar, up: str | None, joint_map: Path | None) -> Motion:
    if name is None:
        names = avatar.components.get("motions").names()
        name = next((n for n in names if n.startswith("talk")), names[0])
    return find_motion(name, avatar.components, up, joint_map)[0]


def _from_video(video: Path, avatar: LoadedAvatar, progress: Progress) -> Motion:
    from avatarkit.tracking import relative, track_video

    with progress.stage("tracking"):
        tracked = track_video(video, avatar.components, progress.update)
    for warning in tracked.warnings:
        tell(f"Note: {warning}")
    return relative(tracked.motion)
