"""``avatarkit clean``: what is kept on the disk, and freeing it."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarkit_cli.shared import JsonFlag, PluginFiles, confirm, load_registry, print_json, say, table, tell

if TYPE_CHECKING:
    from avatarkit.registry import Registry

__all__ = ["clean"]


@dataclass(frozen=True)
class _Kept:
    """Something that can be made again.

    Attributes:
        what: in words.
        path: the file or folder, or the folder that holds ``parts``.
        parts: the files and folders to delete.
        owner: the avatar that a build may be writing to now, or the path itself.
        size: bytes.
        days: since something of it was last written.
    """

    what: str
    path: Path
    parts: tuple[Path, ...]
    owner: Path
    size: int
    days: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"what": self.what, "path": str(self.path), "size": self.size, "days": self.days}


def clean(
    avatars: Annotated[
        list[Path] | None, typer.Argument(help="Avatars. [default: those in the current folder]", metavar="[NAME.avatar]...")
    ] = None,
    older: Annotated[float, typer.Option(help="Only what was not written to for so many days.", min=0, metavar="DAYS")] = 0.0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Free it without a question.")] = False,
    plugin: PluginFiles = None,
    as_json: JsonFlag = False,
) -> None:
    """List what is kept per user and per avatar, and free it.

    Only what avatarkit can make again is listed. Stages of a build hold the photo: without them, the next build starts over.
    Weights, plugins, keys and all other files stay.
    """
    found = [kept for kept in (*_of_user(load_registry(plugin)), *_of_avatars(avatars)) if kept.days >= older]
    if not as_json:
        table(("what", "size", "days", "where"), [(k.what, _size(k.size), f"{k.days:.0f}", str(k.path)) for k in found])
        say(f"{_size(sum(k.size for k in found))} in all.")
    asked = yes or (bool(found) and not as_json and sys.stdin is not None and sys.stdin.isatty())
    if asked and found:
        confirm("Free it?", yes, "Nothing was freed.", "Say --yes.")
        for kept in found:
            _free(kept)
    elif found:
        tell("Free it with --yes.")
    if as_json:
        print_json({"freed": asked, "kept": [k.to_dict() for k in found], "bytes": sum(k.size for k in found)})


def _of_user(registry: Registry) -> Iterator[_Kept]:
    """Yield what is in the cache folder. It may be any folder of the user's, so only files that are surely ours are listed."""
    from avatarkit.utils.paths import cache_folder

    folder = cache_folder()
    places = dict.fromkeys(folder.glob(f"scratch/*/{'[0-9a-f]' * 32}"), "unfinished clips, with pictures of the person")
    places |= {Path(path): what for path, what in registry.cached_files(folder).items()}
    places[folder / "weights-digests.json"] = "digests of weights"
    for path, what in sorted(places.items()):
        if path.exists() and not path.is_symlink() and not path.parent.is_symlink():
            yield _kept(what, path, [path], path)


def _of_avatars(given: list[Path] | None) -> Iterator[_Kept]:
    """Yield the stages of avatars, and of builds that were stopped before they made one."""
    from avatarkit.storage.bundle import read_manifest, stage_folders

    if given is None:
        here = Path.cwd()
        chosen = {p for p in here.glob("*.avatar") if (p / "manifest.json").is_file()}
        chosen |= {p.with_name(p.name[1 : -len(".work")]) for p in here.glob(".?*.work")}
    else:
        for path in given:
            read_manifest(path)  # it says what is no avatar
        chosen = set(given)
    for avatar in sorted(chosen):
        for place, folders in stage_folders(avatar).items():
            yield _kept(f"stages of {avatar.name}, with the photo", place, folders, avatar)


def _kept(what: str, path: Path, parts: Iterable[Path], owner: Path) -> _Kept:
    files = [file for part in parts for file in (part, *part.rglob("*")) if file.is_file() and not file.is_symlink()]
    facts = [file.stat() for file in files]
    newest = max((fact.st_mtime for fact in facts), default=time.time())
    days = max(0.0, (time.time() - newest) / 86400)
    return _Kept(what, path, tuple(parts), owner, sum(fact.st_size for fact in facts), days)


def _free(kept: _Kept) -> None:
    """Delete something, and the folder that held it if that is empty then.

    Raises:
        StoreError: a build is writing there, or it cannot be deleted.
    """
    from avatarkit.utils.files import disk_errors, only_user

    with only_user(kept.owner, "another avatar"), disk_errors(kept.path):
        for part in kept.parts:
            if part.is_dir():
                shutil.rmtree(part)
            else:
                part.unlink(missing_ok=True)
        with suppress(OSError):
            kept.parts[0].parent.rmdir()


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
