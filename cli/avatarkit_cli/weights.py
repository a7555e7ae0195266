"""``avatarkit weights``: checkpoint files that components need and that nobody may hand on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avatarkit_cli.shared import JsonFlag, load_registry, print_json, say, table, tell

if TYPE_CHECKING:
    from avatarkit.registry import Component

__all__ = ["app"]

app = typer.Typer(help="Checkpoint files that components need.", rich_markup_mode=None, no_args_is_help=True)


@app.command("list")
def list_weights(as_json: JsonFlag = False) -> None:
    """List all weights that installed components know, with their licences."""
    from avatarkit.paths import find_weights

    rows = [(name, find_weights(name), component) for name, component in sorted(_known().items())]
    if as_json:
        print_json(
            {
                "weights": [
                    {"name": name, "path": str(path) if path else None, "for": c.owner, "licence": c.licence.weights}
                    for name, path, c in rows
                ]
            }
        )
        return
    table(
        ("name", "is", "for, and licence"),
        [(name, "here" if path else "missing", f"{c.owner}: {c.licence.weights}") for name, path, c in rows],
    )


@app.command("where")
def where(name: Annotated[str, typer.Argument(help="Of the weights.")]) -> None:
    """Print where a checkpoint lies."""
    from avatarkit.errors import MissingWeights
    from avatarkit.paths import find_weights

    component = _component(name)
    path = find_weights(name)
    if path is None:
        raise MissingWeights(
            f"{name} is not here: avatarkit weights add {name} FILE (licence: {component.licence.weights})"
        )
    say(str(path))


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Of the weights.")],
    file: Annotated[Path, typer.Argument(help="The checkpoint file or folder that you have.")],
) -> None:
    """Tell avatarkit where a checkpoint lies; a link is made, or a copy where links cannot be."""
    import shutil

    from avatarkit.errors import InputError
    from avatarkit.paths import find_weights, weights_folder
    from avatarkit.store import disk_errors

    component = _component(name)
    if not file.exists():
        raise InputError(f"There is no file or folder {file}.")
    target = weights_folder() / (name if file.is_dir() else f"{name}{file.suffix}")
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        old = find_weights(name)
        if old is not None and old.is_symlink():
            old.unlink()
        elif old is not None:
            raise InputError(f"{name} is here already: {old}. Delete it first.")
        try:
            target.symlink_to(file.resolve(), target_is_directory=file.is_dir())
        except OSError:  # no links on this disk or for this user
            (shutil.copytree if file.is_dir() else shutil.copyfile)(file, target)
    tell(f"Licence of {name}: {component.licence.weights}")
    say(str(target))


def _known() -> dict[str, Component]:
    """Name of weights -> the first component that needs them."""
    from avatarkit.registry import KINDS

    registry = load_registry()
    found: dict[str, Component] = {}
    for kind in KINDS:
        for component in registry.components(kind).values():
            for name in component.needs.weights:
                found.setdefault(name, component)
    return found


def _component(name: str) -> Component:
    from avatarkit.errors import ConfigError
    from avatarkit.options import did_you_mean

    known = _known()
    if name not in known:
        raise ConfigError(
            f"No installed component needs weights {name!r}.{did_you_mean(name, known)} See avatarkit weights list."
        )
    return known[name]
