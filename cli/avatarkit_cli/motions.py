"""``avatarkit motions``: what avatars can do out of the box."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarkit_cli.shared import JsonFlag, PluginFiles, find_motion, load_registry, print_json, say, table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from avatarkit.components import Components

__all__ = ["app"]

app = typer.Typer(help="Show the built-in motions.", rich_markup_mode=None)


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
    plugin: PluginFiles = None,
    as_json: JsonFlag = False,
) -> None:
    """Show one motion: length, rate, whether it loops."""
    components = _components(plugin)
    source = components.get("motions")
    motion = find_motion(name, components)
    data: dict[str, Any] = {
        "name": motion.name, "frames": len(motion), "fps": motion.fps,
        "seconds": round(len(motion) / motion.fps, 3), "loop": motion.loop, "body": motion.params.model,
    }  # fmt: skip
    if name in source.names():
        data["description"] = source.describe(name)
    if as_json:
        print_json(data)
    else:
        table(("", ""), [(key, str(value)) for key, value in data.items()])


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
    table(("motion", "what it is"), list(described.items()))
    say("\nMotion files can be given wherever a motion is asked for: avatarkit animate NAME.avatar --motion FILE")
