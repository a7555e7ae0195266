"""``avatarkit clean``: what is kept on the disk, and freeing it."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from avatarkit_cli.shared import JsonFlag, confirm, print_json, say, table, tell

__all__ = ["clean"]

_KEPT = ("weights", "plugins", "keys", "revoked.json")
"""Names in the cache folder that cannot be made again: the user brought them, or they say who signed."""


@dataclass(frozen=True)
class _Kept:
    """Something that can be made again.

    Attributes:
        what: in words. path: file or folder. size: bytes. days: since it was last written.
    """

    what: str
    path: str
    size: int
    days: float


def clean(
    avatars: Annotated[
        list[Path] | None, typer.Argument(help="Avatars. [default: those in the current folder]", metavar="[NAME.avatar]...")
    ] = None,
    older: Annotated[float, typer.Option(help="Only what was not written to for so many days.", min=0, metavar="DAYS")] = 0.0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Free it without a question.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List what is kept per user and per avatar, and free it.

    Only what avatarkit can make again is listed. Stages of a build hold the photo: without them, the next build starts over.
    Weights, plugins and keys stay.
    """
    from avatarkit.utils.files import only_user

    found = [kept for kept in (*_of_user(), *_of_avatars(avatars)) if kept.days >= older]
    if not as_json:
        table(("what", "size", "days", "where"), [(k.what, _size(k.size), f"{k.days:.0f}", k.path) for k in found])
        say(f"{_size(sum(k.size for k in found))} in all.")
    asked = yes or (bool(found) and not as_json and sys.stdin is not None and sys.stdin.isatty())
    if asked and found:
        confirm("Free it?", yes, "Nothing was freed.", "Say --yes.")
        for kept in found:
            with only_user(Path(kept.path).parent, "another avatar"):
                _remove(Path(kept.path))
    elif found:
        tell("Free it with --yes.")
    if as_json:
        print_json({"freed": asked, "kept": [asdict(k) for k in found], "bytes": sum(k.size for k in found)})


def _of_user() -> Iterator[_Kept]:
    from avatarkit.utils.paths import cache_folder

    folder = cache_folder()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name not in (*_KEPT, "locks") and not path.is_symlink():
            yield _kept("made once per user", path)


def _of_avatars(given: list[Path] | None) -> Iterator[_Kept]:
    from avatarkit.storage.bundle import read_manifest

    if given is None:
        chosen = [p for p in sorted(Path.cwd().glob("*.avatar")) if (p / "manifest.json").is_file()]
    else:
        for path in given:
            read_manifest(path)  # it says what is no avatar
        chosen = given
    for avatar in chosen:
        real = avatar.resolve()
        for path in (real / "cache", real.with_name(f".{real.name}.work")):
            if path.is_dir() and not path.is_symlink():
                yield _kept(f"stages of {avatar.name}, with the photo", path)


def _kept(what: str, path: Path) -> _Kept:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file() and not p.is_symlink()]
    facts = [file.stat() for file in files]
    newest = max((fact.st_mtime for fact in facts), default=time.time())
    return _Kept(what, str(path), sum(fact.st_size for fact in facts), max(0.0, (time.time() - newest) / 86400))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
