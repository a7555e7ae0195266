"""``avatarkit weights``: checkpoint files that components need and that nobody may hand on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarkit_cli.progress import make_progress
from avatarkit_cli.shared import JsonFlag, load_registry, print_json, say, table, tell

if TYPE_CHECKING:
    from avatarkit.hookspecs import Weights
    from avatarkit.registry import Component
    from avatarkit_cli.downloads import Listing

__all__ = ["app"]

app = typer.Typer(help="Checkpoint files that components need.", rich_markup_mode=None, no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Of the weights.")]


@dataclass(frozen=True)
class _Known:
    """Weights that an installed component needs; ``about`` is None where it does not say where they come from."""

    name: str
    component: Component
    about: Weights | None

    @property
    def licence(self) -> str:
        return self.about.licence if self.about else self.component.licence.weights

    @property
    def commercial(self) -> bool | None:
        return self.about.commercial if self.about else self.component.licence.commercial

    @property
    def remedy(self) -> str:
        """The command that brings them."""
        fetch = self.about is not None and self.about.repository
        return f"avatarkit weights fetch {self.name}" if fetch else f"avatarkit weights add {self.name} FILE"

    def to_dict(self) -> dict[str, Any]:
        from avatarkit.paths import find_weights, weights_record

        path, about = find_weights(self.name), self.about
        return {
            "name": self.name,
            "path": str(path) if path else None,
            "for": self.component.owner,
            "licence": self.licence,
            "commercial": self.commercial,
            "source": about.source if about else None,
            "gated": about.gated if about else None,
            "size": about.size if about else None,
            "sha256": dict(about.sha256) if about else {},
            "fetch": bool(about and about.repository),
            "fetched": weights_record(self.name),
        }


@app.command("list")
def list_weights(as_json: JsonFlag = False) -> None:
    """List all weights that installed components know: source, size, licence, and whether they are here."""
    from avatarkit.paths import find_weights

    known = [known for _, known in sorted(_all().items())]
    if as_json:
        print_json({"weights": [entry.to_dict() for entry in known]})
        return
    rows = []
    for entry in known:
        about = entry.about
        facts = [entry.component.owner, entry.licence, _commercial(entry.commercial)]
        if about is not None:
            facts += ["gated"] * about.gated + [about.source]
        size = _size(about.size) if about and about.size else "-"
        rows.append((entry.name, "here" if find_weights(entry.name) else "missing", size, "; ".join(facts)))
    table(("name", "is", "size", "for, licence, source"), rows)


@app.command("where")
def where(name: Name) -> None:
    """Print where a checkpoint lies."""
    from avatarkit.errors import MissingWeights
    from avatarkit.paths import find_weights

    known = _known(name)
    path = find_weights(name)
    if path is None:
        raise MissingWeights(f"{name} is not here: {known.remedy} (licence: {known.licence})")
    say(str(path))


@app.command("add")
def add(
    name: Name,
    file: Annotated[Path, typer.Argument(help="The checkpoint file or folder that you have.")],
) -> None:
    """Tell avatarkit where a checkpoint lies; a link is made, or a copy where links cannot be."""
    import shutil

    from avatarkit.errors import InputError
    from avatarkit.files import disk_errors
    from avatarkit.paths import find_weights, weights_folder

    known = _known(name)
    if not file.exists():
        raise InputError(f"There is no file or folder {file}.")
    source = file.resolve()  # before the link of an earlier time is deleted, which it may be
    target = weights_folder() / (name if file.is_dir() else f"{name}{file.suffix}")
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        old = find_weights(name)
        if old is not None and old.is_symlink():
            old.unlink()
        elif old is not None:
            raise InputError(f"{name} is here already: {old}. Delete it first.")
        try:
            target.symlink_to(source, target_is_directory=file.is_dir())
        except OSError:  # no links on this disk or for this user
            (shutil.copytree if file.is_dir() else shutil.copyfile)(source, target)
    tell(f"Licence of {name}: {known.licence}; {_commercial(known.commercial)}")
    say(str(target))


@app.command("fetch")
def fetch(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept the licence that is shown, without being asked.")] = False,
) -> None:
    """Fetch a checkpoint from where its makers keep it, after showing its licence.

    What was cut off goes on when the command is given again. AVATARKIT_OFFLINE=1 forbids it; HF_TOKEN opens gated ones.
    """
    from avatarkit.errors import MissingWeights
    from avatarkit.paths import find_weights
    from avatarkit_cli.downloads import list_files, offline

    known = _known(name)
    about = known.about
    if (here := find_weights(name)) is not None:
        tell(f"{name} is here already.")
        say(str(here))
        return
    if about is None or not about.repository:
        source = f" Get it from {about.source}, then" if about else ""
        raise MissingWeights(f"{name} cannot be fetched by a program.{source} avatarkit weights add {name} FILE")
    if offline():
        raise MissingWeights(
            f"{name} is not here, and AVATARKIT_OFFLINE forbids to fetch it. Download it elsewhere, then avatarkit weights add "
            f"{name} FILE"
        )
    tell(f"{name}, for {known.component.owner}, from {about.source}")
    tell(f"Licence: {about.licence}; {_commercial(about.commercial)}{'; gated' if about.gated else ''}")
    if about.size and not yes:
        tell(f"Size: {_size(about.size)}")
    _accept(yes)
    listing = list_files(about)
    with make_progress() as progress, progress.stage(f"fetching {name}"):
        target = _fetch_all(about, listing, progress.update)
    say(str(target))


def _accept(yes: bool) -> None:
    """Goes on only where the user said so."""
    import sys

    from avatarkit.errors import ConfigError

    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("Nothing was fetched: say --yes if you accept this licence.")
    if not typer.confirm("Do you accept this licence, and shall it be fetched?", err=True):
        raise ConfigError("Nothing was fetched.")


def _fetch_all(about: Weights, listing: Listing, report: Any) -> Path:
    """All files into a folder of their own, which then becomes the weights: half of them are never found."""
    import hashlib
    import os
    import shutil

    from avatarkit.errors import StoreError
    from avatarkit.files import disk_errors
    from avatarkit.paths import weights_folder, write_weights_record
    from avatarkit_cli.downloads import fetch_file

    folder = weights_folder() / ".partial" / f"{about.name}-{listing.commit[:12]}"
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        had = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        free, wanted = shutil.disk_usage(folder).free, (listing.size or 0) - had
        if wanted > free:
            raise StoreError(f"{about.name} needs {_size(wanted)} more, and {_size(free)} are free on the disk of {folder}.")
        done, digests = 0, {}
        for file in listing.files:
            path = folder / file.path
            if path.is_file():  # whole and checked in an earlier try
                with path.open("rb") as stream:
                    digests[file.path] = hashlib.file_digest(stream, "sha256").hexdigest()
            else:

                def tell_bytes(here: int, before: int = done, path: str = file.path) -> None:
                    report(path, (before + here) / listing.size if listing.size else None)

                digests[file.path] = fetch_file(file, path, tell_bytes)
            done += path.stat().st_size
        if about.single:
            (only,) = (folder / file.path for file in listing.files)
            target = weights_folder() / f"{about.name}{only.suffix}"
            os.replace(only, target)
            shutil.rmtree(folder, ignore_errors=True)
        else:
            target = weights_folder() / about.name
            os.replace(folder, target)
        write_weights_record(
            about.name,
            {"repository": about.repository, "commit": listing.commit, "licence": about.licence, "sha256": digests},
        )
    return target


def _commercial(allowed: bool | None) -> str:
    return {True: "commercial use allowed", False: "no commercial use", None: "commercial use: ask"}[allowed]


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _all() -> dict[str, _Known]:
    """Name of weights -> the first component that needs them."""
    from avatarkit.registry import KINDS

    registry = load_registry()
    found: dict[str, _Known] = {}
    for kind in KINDS:
        for component in registry.components(kind).values():
            about = {weights.name: weights for weights in component.needs.sources}
            for name in component.needs.weights:
                if name not in found or (found[name].about is None and name in about):
                    found[name] = _Known(name, component, about.get(name))
    return found


def _known(name: str) -> _Known:
    from avatarkit.errors import ConfigError
    from avatarkit.options import did_you_mean

    known = _all()
    if name not in known:
        raise ConfigError(
            f"No installed component needs weights {name!r}.{did_you_mean(name, known)} See avatarkit weights list."
        )
    return known[name]
