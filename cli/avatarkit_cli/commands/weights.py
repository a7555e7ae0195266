"""``avatarkit weights``: third-party checkpoint files that components need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarkit_cli.progress import make_progress
from avatarkit_cli.shared import JsonFlag, PluginFiles, confirm, load_registry, print_json, say, size_text, table, tell

if TYPE_CHECKING:
    from avatarkit.hookspecs import Weights
    from avatarkit.registry import ComponentSpec

__all__ = ["app"]

app = typer.Typer(help="Checkpoint files that components need.", rich_markup_mode=None, no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the weights.")]


@dataclass(frozen=True)
class _Known:
    """Weights that an installed component needs.

    ``about`` is None if the component does not state their source.
    """

    name: str
    component: ComponentSpec
    about: Weights | None

    @property
    def license(self) -> str:
        return self.about.license if self.about else self.component.license.weights

    @property
    def commercial(self) -> bool | None:
        return self.about.commercial if self.about else self.component.license.commercial

    @property
    def remedy(self) -> str:
        """The command that gets them."""
        fetch = self.about is not None and self.about.repository
        return f"avatarkit weights fetch {self.name}" if fetch else f"avatarkit weights add {self.name} FILE"

    def to_dict(self) -> dict[str, Any]:
        from avatarkit.utils.paths import find_weights, weights_record

        path, about = find_weights(self.name), self.about
        return {
            "name": self.name,
            "path": str(path) if path else None,
            "for": self.component.owner,
            "license": self.license,
            "commercial": self.commercial,
            "source": about.source if about else None,
            "gated": about.gated if about else None,
            "size": about.size if about else None,
            "sha256": dict(about.sha256) if about else {},
            "fetch": bool(about and about.repository),
            "fetched": weights_record(self.name) if path else None,
        }


@app.command("list")
def list_weights(plugin: PluginFiles = None, as_json: JsonFlag = False) -> None:
    """List all weights of installed components: source, size, license, and whether they are installed."""
    from avatarkit.utils.paths import find_weights

    known = [known for _, known in sorted(_all(plugin).items())]
    if as_json:
        print_json({"weights": [entry.to_dict() for entry in known]})
        return
    rows = []
    for entry in known:
        about = entry.about
        facts = [entry.component.owner, entry.license, _commercial(entry.commercial)]
        if about is not None:
            facts += ["gated"] * about.gated + [about.source]
        size = size_text(about.size) if about and about.size else "-"
        rows.append((entry.name, "here" if find_weights(entry.name) else "missing", size, "; ".join(facts)))
    table(("name", "status", "size", "component, license, source"), rows)


@app.command("where")
def where(name: Name, plugin: PluginFiles = None) -> None:
    """Print the path of a checkpoint."""
    from avatarkit.errors import MissingWeights
    from avatarkit.utils.paths import find_weights

    known = _known(name, plugin)
    path = find_weights(name)
    if path is None:
        raise MissingWeights(f"{name} is not installed: {known.remedy} (license: {known.license})")
    say(str(path))


@app.command("add")
def add(
    name: Name,
    file: Annotated[Path, typer.Argument(help="The checkpoint file or folder that you have.")],
    plugin: PluginFiles = None,
) -> None:
    """Register a checkpoint that you have.

    Creates a link, or a copy on disks without links.
    """
    from avatarkit_cli.checkpoints.weights_files import add_weights

    known = _known(name, plugin)
    target = add_weights(name, file)
    tell(f"License of {name}: {known.license}; {_commercial(known.commercial)}")
    say(str(target))


@app.command("remove")
def remove(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove it without being asked.")] = False,
) -> None:
    """Remove a checkpoint from avatarkit's folder of weights.

    Of a checkpoint that you added, only the link or copy is removed, not your file.
    """
    from avatarkit.errors import MissingWeights
    from avatarkit.utils.paths import find_weights, is_weights_name
    from avatarkit_cli.checkpoints.weights_files import remove_weights

    found = find_weights(name) if is_weights_name(name) else None
    if found is None:
        raise MissingWeights(f"There are no weights {name!r} to remove. See avatarkit weights list.")
    tell(f"{found}{f' (a link to {found.resolve()}, which stays)' if found.is_symlink() else ''}")
    confirm("Remove it?", yes, "Nothing was removed.", "Use --yes to remove it without being asked.")
    removed = remove_weights(name)
    if not removed:
        raise MissingWeights(f"{found} belongs to weights of another name. Remove it yourself.")
    for path in removed:
        say(str(path))


@app.command("fetch")
def fetch(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept the license without being asked.")] = False,
    plugin: PluginFiles = None,
) -> None:
    """Download a checkpoint from its authors, after showing its license.

    If a download is interrupted, run the command again and it continues. AVATARKIT_OFFLINE=1 disables downloads; HF_TOKEN gives
    access to gated ones.
    """
    from avatarkit.errors import MissingWeights
    from avatarkit.utils.paths import find_weights
    from avatarkit_cli.checkpoints.downloads import list_files, offline
    from avatarkit_cli.checkpoints.weights_files import fetch_weights

    known = _known(name, plugin)
    about = known.about
    if (here := find_weights(name)) is not None:
        tell(f"{name} is already installed.")
        say(str(here))
        return
    if about is None or not about.repository:
        source = f" Get it from {about.source}, then" if about else ""
        raise MissingWeights(f"{name} cannot be downloaded automatically.{source} avatarkit weights add {name} FILE")
    if offline():
        raise MissingWeights(
            f"{name} is not installed, and AVATARKIT_OFFLINE disables downloads. Download it elsewhere, then run: "
            f"avatarkit weights add {name} FILE"
        )
    tell(f"{name}, for {known.component.owner}, from {about.source}")
    tell(f"License: {about.license}; {_commercial(about.commercial)}{'; gated' if about.gated else ''}")
    if about.size and not yes:
        tell(f"Size: {size_text(about.size)}")
    question = "Do you accept this license and want to download it?"
    confirm(question, yes, "Nothing was fetched.", "Use --yes if you accept this license.")
    listing = list_files(about)
    with make_progress() as progress, progress.stage(f"fetching {name}"):
        target = fetch_weights(about, listing, progress.update)
    say(str(target))


def _commercial(allowed: bool | None) -> str:
    return {True: "commercial use allowed", False: "no commercial use", None: "commercial use: ask"}[allowed]


def _all(files: list[Path] | None) -> dict[str, _Known]:
    """Return name of weights -> the first component that needs them."""
    from avatarkit.registry import KINDS

    registry = load_registry(files)
    found: dict[str, _Known] = {}
    for kind in KINDS:
        for component in registry.components(kind).values():
            about = {weights.name: weights for weights in component.needs.sources}
            for name in component.needs.weights:
                if name not in found or (found[name].about is None and name in about):
                    found[name] = _Known(name, component, about.get(name))
    return found


def _known(name: str, files: list[Path] | None) -> _Known:
    from avatarkit.config.options import did_you_mean
    from avatarkit.errors import ConfigError

    known = _all(files)
    if name not in known:
        raise ConfigError(
            f"No installed component needs weights {name!r}.{did_you_mean(name, known)} See avatarkit weights list."
        )
    return known[name]
