"""``avatarkit render``: renders one picture of an avatar."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatarkit_cli.shared import (
    Anyway,
    Device,
    JsonFlag,
    Mark,
    NoSign,
    PluginFiles,
    Sign,
    Size,
    find_pose,
    load_registry,
    named_files,
    parse_size,
    print_json,
    say,
)

__all__ = ["render"]


def render(
    avatar: Annotated[Path, typer.Argument(help="An avatar's folder.", metavar="NAME.avatar")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A PNG file.")],
    pose: Annotated[
        str | None,
        typer.Option(help="A motion file or built-in motion, NAME@SECONDS for a later frame. [default: as in the photo]"),
    ] = None,
    yaw: Annotated[float, typer.Option(help="Degrees that the camera moves to the right of the picture.")] = 0.0,
    pitch: Annotated[float, typer.Option(help="Degrees that the camera moves up.")] = 0.0,
    size: Size = None,
    background: Annotated[str, typer.Option(help="A color, or transparent.", metavar="COLOR")] = "#ffffff",
    mark: Mark = None,
    sign: Sign = None,
    no_sign: NoSign = False,
    anyway: Anyway = False,
    device: Device = "auto",
    plugin: PluginFiles = None,
    as_json: JsonFlag = False,
) -> None:
    """Render one picture of an avatar."""
    from avatarkit.errors import InputError
    from avatarkit.utils.files import check_output
    from avatarkit_cli.trust.mark import check_mark, marked

    check_output(output, avatar, *named_files(pose), *(plugin or ()))
    width, height = parse_size(size) or (None, None)
    if output.suffix.lower() != ".png":
        raise InputError(f"Pictures are written as PNG: use -o {output.stem}.png instead of {output.name}.")
    check_mark(mark)
    registry = load_registry(plugin, sign, no_sign, anyway)

    from avatarkit.animation import load
    from avatarkit.io.image import save_png

    loaded = load(avatar, registry, device)
    params = None if pose is None else find_pose(pose, loaded)
    image = loaded.render(params, yaw, pitch, width, height, background)
    image = image if mark is None else marked(image, mark)
    with loaded.output(output):
        save_png(output, image if background == "transparent" else image[..., :3])
    if as_json:
        print_json({"picture": str(output), "width": image.shape[1], "height": image.shape[0]})
    else:
        say(str(output))
