"""``avatarkit track``: turns a photo or video into a motion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatarkit_cli.progress import make_progress
from avatarkit_cli.shared import Device, JsonFlag, PluginFiles, Seed, load_registry, print_json, say, tell

__all__ = ["track"]


def track(
    source: Annotated[Path, typer.Argument(help="A photo or a video of one person.", metavar="PHOTO|VIDEO")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A motion file.", metavar="motion.npz")],
    overlay: Annotated[
        Path | None, typer.Option(help="A video (for a photo: a PNG file) of the body over the pictures.", metavar="FILE")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Preset whose components are used. [default: as for build]", metavar="PRESET")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe of your own.", metavar="FILE.toml")] = None,
    person: Annotated[
        int | None, typer.Option(help="Number of the person, from the left, if the photo shows several.", min=1, metavar="N")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change one option. May be repeated.", metavar="SLOT.OPTION=VALUE")
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
    plugin: PluginFiles = None,
    as_json: JsonFlag = False,
) -> None:
    """Track the body in a photo or a video.

    If tracking a video is interrupted, run the same command again and it continues where it stopped.
    """
    from avatarkit.components import choose_recipe
    from avatarkit.errors import ConfigError
    from avatarkit.utils.files import check_output

    check_output(output, source, recipe, *(plugin or ()))
    if overlay is not None:
        check_output(overlay, source, recipe, *(plugin or ()))
        if overlay.resolve() == output.resolve():
            raise ConfigError(f"-o and --overlay both name {output}. Choose another file for --overlay.")
    chosen = choose_recipe(preset, recipe, None, settings or (), device)
    registry = load_registry(plugin)

    from avatarkit.components import Components
    from avatarkit.motion.files import save_motion
    from avatarkit.tracking import relative, track_file, write_overlay
    from avatarkit.utils.files import only_user

    with only_user(output), make_progress() as progress:
        components = Components(chosen, registry, device, seed, progress)
        with progress.stage("tracking"):
            work = output.with_name(f"{output.name}.landmarks")
            tracked = track_file(source, components, person, progress.update, work)
        save_motion(relative(tracked.motion), components.get("body"), output)
        if overlay is not None:
            with progress.stage("overlay"):
                write_overlay(overlay, tracked, components, progress.update)
    seen = tracked.motion.valid
    frames = len(tracked.motion)
    lost = 0 if seen is None else int((~seen).sum())
    for warning in tracked.warnings:
        tell(f"Note: {warning}")
    if as_json:
        print_json(
            {
                "motion": str(output), "overlay": str(overlay) if overlay else None, "frames": frames, "lost": lost,
                "fps": tracked.motion.fps, "metrics": dict(tracked.metrics), "warnings": list(tracked.warnings),
            }
        )  # fmt: skip
    else:
        say(str(output))
        if lost:
            tell(f"{lost} of {frames} frames show no person; the motion is interpolated there.")
