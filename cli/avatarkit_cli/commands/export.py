"""``avatarkit export``: writes an avatar for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatarkit_cli.progress import make_progress
from avatarkit_cli.shared import (
    Anyway,
    Device,
    JsonFlag,
    NoSign,
    PluginFiles,
    Sign,
    find_pose,
    load_registry,
    named_files,
    parse_options,
    print_json,
    say,
)

__all__ = ["export"]


def export(
    avatar: Annotated[Path, typer.Argument(help="An avatar's folder.", metavar="NAME.avatar")],
    to: Annotated[str, typer.Option("--to", help="The format: ply, spz, glb, vrm, web, or one of a plugin.", metavar="FORMAT")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file or folder to write.")],
    pose: Annotated[
        str | None,
        typer.Option(help="A motion file or built-in motion, NAME@SECONDS for a later frame. [default: as in the photo]"),
    ] = None,
    sh_degree: Annotated[
        int | None, typer.Option(help="For ply: degree of spherical harmonics; 0 makes small files.", min=0, max=3, metavar="N")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one option of the format. May be repeated.", metavar="OPTION=VALUE"),
    ] = None,
    sign: Sign = None,
    no_sign: NoSign = False,
    anyway: Anyway = False,
    device: Device = "auto",
    plugin: PluginFiles = None,
    as_json: JsonFlag = False,
) -> None:
    """Write an avatar as a file for other programs."""
    from avatarkit.utils.files import check_output

    check_output(output, avatar, *named_files(pose), *(plugin or ()))
    registry = load_registry(plugin, sign, no_sign, anyway)
    component = registry.get("exporter", to)
    given = [] if sh_degree is None else [f"sh_degree={sh_degree}"]
    options, origins = parse_options([*(settings or []), *given], component.owner)
    component.make_config(options, origins)  # reports wrong options before the avatar is read

    from avatarkit.animation import load

    with make_progress() as progress:
        with progress.stage("loading"):
            loaded = load(avatar, registry, device)
            params = loaded.photo_params if pose is None else find_pose(pose, loaded)
        with progress.stage("exporting"):
            loaded.export(to, output, params, **options)
    if as_json:
        size = sum(f.stat().st_size for f in ([output] if output.is_file() else output.rglob("*")) if f.is_file())
        print_json({"output": str(output), "format": to, "bytes": size})
    else:
        say(str(output))
