"""``avatarkit talk``: an avatar says a text."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from avatarkit_cli.film import FilmBackground, FilmCamera, FilmFile, make_film, print_film, read_view
from avatarkit_cli.progress import make_progress
from avatarkit_cli.shared import (
    Anyway,
    Device,
    JsonFlag,
    Mark,
    NoSign,
    PluginFiles,
    Sign,
    Size,
    SpeechSettings,
    load_registry,
    named_files,
    parse_size,
    tell,
)

__all__ = ["talk"]


def talk(
    avatar: Annotated[Path, typer.Argument(help="An avatar's folder.", metavar="NAME.avatar")],
    text: Annotated[str, typer.Option(help="What to say.", metavar="TEXT")],
    output: FilmFile,
    voice: Annotated[
        str | None, typer.Option(help="A voice of the engine, such as en-us+klatt4. [default: its first]", metavar="NAME")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="A speech synthesizer. [default: espeak-ng]", metavar="NAME")] = None,
    style: Annotated[str, typer.Option(help="How much arms, head and face move.", metavar="calm|lively")] = "lively",
    seed: Annotated[int, typer.Option(help="Another seed gives other gestures.", min=0)] = 0,
    driver: Annotated[str | None, typer.Option(help="A speech driver of a plugin.", metavar="NAME")] = None,
    camera: FilmCamera = "front",
    settings: SpeechSettings = None,
    size: Size = None,
    fps: Annotated[float, typer.Option(help="Frames per second.", min=1, max=240)] = 30.0,
    background: FilmBackground = "#ffffff",
    mark: Mark = None,
    sign: Sign = None,
    no_sign: NoSign = False,
    anyway: Anyway = False,
    device: Device = "auto",
    plugin: PluginFiles = None,
    as_json: JsonFlag = False,
) -> None:
    """Say a text with an avatar.

    A speech synthesizer on your machine makes the sound; the text is aligned with it, and the whole person talks along.
    """
    from avatarkit.errors import ConfigError
    from avatarkit.utils.files import check_output
    from avatarkit_cli.trust.mark import check_mark

    check_mark(mark)
    check_output(output, avatar, *named_files(None, camera), *(plugin or ()))
    if not text.strip():
        raise ConfigError('--text is empty: give what to say, as in --text "Hello".')
    pixels = parse_size(size)
    registry = load_registry(plugin, sign, no_sign, anyway)

    from avatarkit.animation import load
    from avatarkit.motion.speech import SpokenText

    started = time.monotonic()
    with make_progress() as progress:
        with progress.stage("loading"):
            loaded = load(avatar, registry, device)
            registry.use_avatar(loaded.manifest, "voice")
            view = read_view(camera)
        with progress.stage("speaking"):
            spoken = SpokenText(loaded.components.outside_builds, text, voice, engine, settings or ())
        if not spoken.text:
            tell("Note: The voice does not speak English, so the mouth follows the sound alone.")
        with progress.stage("listening"):
            motion = loaded.speech(spoken.path, spoken.text, None, style, seed, driver, fps, spoken.settings)
        film = make_film(loaded, motion, view, pixels, fps, background, output, progress, audio=spoken.path, mark=mark)
    print_film(film, output, started, as_json)
