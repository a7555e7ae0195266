"""``avatarkit motions``: lists, shows and converts motions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarkit_cli.shared import (
    JointMap,
    JsonFlag,
    PluginFiles,
    Up,
    find_motion,
    load_registry,
    named_files,
    print_json,
    say,
    table,
    tell,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from avatarkit.components import Components

__all__ = ["app"]

app = typer.Typer(help="Show and convert built-in motions and motion files.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _default(ctx: typer.Context, plugin: PluginFiles = None, as_json: JsonFlag = False) -> None:
    if ctx.invoked_subcommand is None:
        _list(plugin, as_json)


@app.command("list")
def list_motions(plugin: PluginFiles = None, as_json: JsonFlag = False) -> None:
    """List the built-in motions."""
    _list(plugin, as_json)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A built-in motion, or a motion file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A PNG file: the body in some frames, from the front and from its left.")
    ] = None,
    up: Up = None,
    joint_map: JointMap = None,
    plugin: PluginFiles = None,
    as_json: JsonFlag = False,
) -> None:
    """Show one motion; of a file, what was understood: format, joints, up axis, unit, frame rate."""
    from avatarkit.errors import ConfigError
    from avatarkit.utils.files import check_output

    if output is not None:
        check_output(output, joint_map, *named_files(name), *(plugin or ()))
        if output.suffix.lower() != ".png":
            raise ConfigError(f"{output.name!r} must end in .png.")
    components = _components(plugin)
    source = components.get("motions")
    motion, info = find_motion(name, components, up, joint_map)
    data: dict[str, Any] = {
        "name": motion.name, "frames": len(motion), "fps": motion.fps,
        "seconds": round(len(motion) / motion.fps, 3), "loop": motion.loop, "body": motion.params.model,
    }  # fmt: skip
    if info is not None:
        data |= {
            "format": info.format, "rig": info.rig, "up": f"{info.up.axis} ({info.up.reason})", "unit": info.unit,
            "moves": sorted(motion.moves), "missing": list(info.missing), "joints": dict(info.joints),
        }  # fmt: skip
    elif name in source.names():
        data["description"] = source.describe(name)
    if output is not None:
        from avatarkit.io.image import save_png
        from avatarkit.motion.sheet import contact_sheet

        save_png(output, contact_sheet(motion, components.get("body"), components.get("renderer")))
        data["picture"] = str(output)
    if as_json:
        print_json(data)
    else:
        table(("", ""), [(key, _text(value)) for key, value in data.items()])


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{a} = {b}" if a != b else a for a, b in value.items())
    return (", ".join(value) or "none") if isinstance(value, list) else str(value)


@app.command("convert")
def convert(
    name: Annotated[str, typer.Argument(help="A built-in motion, or a motion file.")],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="A .bvh file for other programs, or a .npz file, which also keeps facial expressions."
        ),
    ],
    up: Up = None,
    joint_map: JointMap = None,
    plugin: PluginFiles = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a motion, played by the body model, as a BVH or npz file."""
    from avatarkit.errors import ConfigError
    from avatarkit.motion.files import save_motion, write_bvh
    from avatarkit.utils.files import check_output

    check_output(output, joint_map, *named_files(name), *(plugin or ()))
    kind = output.suffix.lower()
    if kind not in (".bvh", ".npz"):
        raise ConfigError(f"{output.name!r} must end in .bvh or .npz.")
    components = _components(plugin)
    (motion, _), body = find_motion(name, components, up, joint_map), components.get("body")
    (write_bvh if kind == ".bvh" else save_motion)(motion, body, output)
    if kind == ".bvh" and bool(motion.params.expression.any()):
        tell("BVH files cannot store facial expressions; write .npz to keep them.")
    if as_json:
        print_json({"motion": str(output), "frames": len(motion), "fps": motion.fps, "body": body.name})
    else:
        say(str(output))


def _components(plugin: Sequence[Path] | None) -> Components:
    from avatarkit.components import Components
    from avatarkit.config import Recipe

    return Components(Recipe.load("standard"), load_registry(plugin), "cpu")


def _list(plugin: Sequence[Path] | None, as_json: bool) -> None:
    source = _components(plugin).get("motions")
    described = {name: source.describe(name) for name in source.names()}
    if as_json:
        print_json({"motions": [{"name": name, "description": text} for name, text in described.items()]})
        return
    table(("motion", "description"), list(described.items()))
    say("\nYou can also use a motion file: avatarkit animate NAME.avatar --motion FILE")
    say("Formats: BVH, glTF, GLB, VRMA, npz of avatarkit, SMPL-X, SMPL-H and SMPL (AMASS, AIST++, BEAT2), and .pose.")
    say("Written: BVH and npz. avatarkit motions show FILE prints what is understood of a file.")
