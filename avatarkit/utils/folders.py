"""Folders that a command writes; it replaces and removes only files that it made. Light to import."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from avatarkit.errors import StoreError
from avatarkit.utils.files import (
    avatar_files,
    disk_errors,
    finish,
    relative_name,
    replace,
    sha256_of,
    sync,
    sync_folder,
    temporary_folder,
    write_text,
)  # fmt: skip

__all__ = ["OutputFolder", "install"]

RECORD = ".avatarkit.json"
"""Name of the hidden file in an output folder that lists what avatarkit wrote there."""
_FORMAT = "avatarkit-output"
_MOST_BYTES = 1 << 26  # of a record


def install(staged: Path, target: Path, last: str, obsolete: Iterable[str] = ()) -> None:
    """Move the files of one folder into another, all or none; after a kill, the same call continues.

    Args:
        staged: complete and on the disk; it is gone at the end, and as it was where this fails.
        target: exists; files in it that ``staged`` does not hold stay.
        last: name of the file that makes the others count.
        obsolete: names in ``target`` that are deleted unless ``staged`` brings them anew.

    Raises:
        OSError: nothing was changed, unless an earlier call was killed and this one cannot go on.
    """
    aside = staged.with_name(f"{staged.name}.old")  # of the files that are replaced
    names = sorted(p.relative_to(staged).as_posix() for p in staged.rglob("*") if not p.is_dir())
    coming = [*(n for n in names if n != last), *(n for n in names if n == last)]
    going = [n for n in obsolete if n not in names and n != last and not _linked(target, n)]
    for name in coming:
        if (target / name).is_dir() and not (target / name).is_symlink():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target / name))
        if _linked(target, name):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str((target / name).parent))
    undo: list[Callable[[], object]] = []

    def move(source: Path, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        replace(source, place)
        undo.append(lambda: replace(place, source))

    try:
        for name in [*going, *coming]:
            there = os.path.lexists(target / name)
            if name == last and there:  # it is never missing: it says what the folder is
                aside.mkdir(exist_ok=True)
                shutil.copyfile(target / name, aside / name)
                shutil.copyfile(staged / name, aside / f"{name}.new")
                replace(staged / name, target / name)
                undo.append(lambda: replace(aside / f"{last}.new", staged / last))
                undo.append(lambda: replace(aside / last, target / last))
                continue
            if there:
                move(target / name, aside / name)
            if name in names:
                move(staged / name, target / name)
        sync_names(target)
    except BaseException:
        for back in reversed(undo):
            back()
        for name in (last, f"{last}.new"):
            (aside / name).unlink(missing_ok=True)
        with suppress(OSError):
            _remove_empty_below(aside)
        raise
    shutil.rmtree(aside, ignore_errors=True)
    _remove_empty_below(staged)
    for name in going:
        _remove_empty((target / name).parent, target)


def sync_names(folder: Path) -> None:
    """Flush the names in ``folder`` and the folders below it to the disk."""
    for path in [folder, *(p for p in folder.rglob("*") if p.is_dir() and not p.is_symlink())]:
        sync(path)


def _linked(root: Path, name: str) -> bool:
    """Return whether ``name`` leads out of ``root`` by a link, or through a file."""
    for folder in (root / name).parents:
        if folder == root:
            return False
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            return True
    return True


def _remove_empty_below(folder: Path) -> None:
    """Delete a folder of empty folders."""
    if folder.is_dir():
        for path in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
            path.rmdir()
        folder.rmdir()


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root and root in folder.parents:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


class OutputFolder:
    """A folder that a command writes: only files that it wrote itself are ever replaced or removed.

    What was written is listed, with checksums, in the hidden file ``.avatarkit.json`` in it. A file that was changed since is
    the user's.

    Args:
        path: of the folder; may not exist yet. kind: what the folder is, e.g. ``frames``.

    Raises:
        StoreError: ``path`` is a file, an avatar, or a folder of another kind.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.typed, self.path, self.kind = Path(path), Path(os.path.realpath(path)), kind
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{path} is a file; choose another name for the folder with -o.")
        if not self.path.name:
            raise StoreError(f"{path} is no folder for results; name another one with -o.")
        if avatar_files(self.path):
            raise StoreError(f"{path} is an avatar; choose another folder with -o, which may be inside it.")
        self.files  # noqa: B018 (complains about a record that is not ours)

    @property
    def files(self) -> dict[str, str]:
        """Name -> sha256 (two of them where a run was killed in between) of the files that earlier runs wrote.

        Raises:
            StoreError: the folder is of another kind.
        """
        record = self.path / RECORD
        if not os.path.lexists(record):
            return {}
        found: Any = None
        with disk_errors(self.typed), suppress(ValueError, RecursionError), record.open("rb") as stream:
            found = json.loads(stream.read(_MOST_BYTES))
        if not isinstance(found, dict) or found.get("format") != _FORMAT or not isinstance(found.get("files"), dict):
            raise StoreError(f"{self.typed / RECORD} was not made by avatarkit; choose another folder with -o.")
        if found.get("kind") != self.kind:
            kind = found.get("kind")
            is_a = f" holds {kind}" if isinstance(kind, str) and kind.isalpha() else " holds something else"
            raise StoreError(f"The folder {self.typed}{is_a}, made by avatarkit; choose another one with -o.")
        return {n: s for n, s in found["files"].items() if relative_name(n) is not None and isinstance(s, str)}

    def check(self, names: Iterable[str] | None = None) -> None:
        """Check that no file of the user's is in the way of ``names``; None = of what earlier runs wrote.

        Raises:
            StoreError: there is one.
        """
        self._recover()
        ours = self.files
        with disk_errors(self.typed):
            for name in ours if names is None else names:
                if _linked(self.path, name):
                    raise StoreError(f"{self.typed / name} leads out of the folder; choose another folder with -o.")
                if os.path.lexists(self.path / name) and not self._is_ours(name, ours):
                    how = "was changed since avatarkit made it" if name in ours else "was not made by avatarkit"
                    raise StoreError(f"{self.typed / name} {how}: move it away, or choose another folder with -o.")

    @contextmanager
    def replace(self) -> Iterator[Path]:
        """Give a new folder for all files; at the end they replace those of the earlier run, or nothing changes.

        Raises:
            StoreError: no space, no permission, or a file of the user's is in the way.
        """
        self._recover()
        with disk_errors(self.typed), temporary_folder(self._near) as staged:
            yield staged
            finish(staged, self.typed)
            names = sorted(p.relative_to(staged).as_posix() for p in staged.rglob("*") if not p.is_dir())
            self.check(names)
            self._record(staged, {name: sha256_of(staged / name) for name in names})
            sync_folder(staged)
            self._put(staged, names)

    def _put(self, staged: Path, names: list[str]) -> None:
        """Brings a complete folder to its place: in one step, unless there are files of the user's."""
        exists, beside = self.path.exists(), self._near == self.path
        if exists:
            os.chmod(staged, stat.S_IMODE(self.path.stat().st_mode))
        if beside and not (exists and any(self.path.iterdir())):
            if os.name == "nt" and exists:
                self.path.rmdir()
            replace(staged, self.path)
            sync(self.path.parent)
            return
        old = self.files
        ours = {n for n in old if n in names or self._is_ours(n, old)}
        there = {p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_symlink() or not p.is_dir()}
        alone = beside and there <= ours | {RECORD} and not _empty_folders(self.path)
        if alone and exchange(staged, self.path):
            sync(self.path.parent)
            self._bring_back(staged, ours)
            return
        journal = self._journal
        replace(staged, journal)
        sync(journal.parent)
        try:
            install(journal, self.path, RECORD, ours - set(names))
        except BaseException:
            if set(names) <= {p.relative_to(journal).as_posix() for p in journal.rglob("*")}:  # all was undone
                shutil.rmtree(journal, ignore_errors=True)
            raise

    def _bring_back(self, old: Path, ours: set[str]) -> None:
        """Keep files that the user put into the old folder while it was being replaced."""
        for path in sorted(p for p in old.rglob("*") if p.is_symlink() or not p.is_dir()):
            name = path.relative_to(old).as_posix()
            if name not in ours and name != RECORD and not os.path.lexists(self.path / name):
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                replace(path, self.path / name)

    @property
    def _near(self) -> Path:
        """The path whose neighbors are on the same disk and may be made: the folder's own, else one inside."""
        if self.path.exists() and (self.path.is_mount() or not os.access(self.path.parent, os.W_OK)):
            return self.path / "output"
        return self.path

    @property
    def _journal(self) -> Path:
        """Where the files of a ``replace`` wait that was killed while they were moved."""
        digest = hashlib.sha256(os.fsencode(self.path.name)).hexdigest()[:8]
        return self._near.with_name(f".avatarkit-{digest}.new")

    def _recover(self) -> None:
        """End a ``replace`` that was killed."""
        journal = self._journal
        record = journal / RECORD
        with disk_errors(self.typed):
            if not journal.is_dir() or journal.is_symlink():
                return
            if not self.path.is_dir():  # it was deleted since
                shutil.rmtree(journal)
                shutil.rmtree(journal.with_name(f"{journal.name}.old"), ignore_errors=True)
                return
            if record.is_file():
                new = OutputFolder(journal, self.kind).files
            elif any(not p.is_dir() for p in journal.rglob("*")):
                return  # not ours
            else:
                new = self.files
            old = self.files
            for name in new:
                moved = not os.path.lexists(journal / name)
                if not moved and os.path.lexists(self.path / name) and not self._is_ours(name, old):
                    raise StoreError(f"{self.typed / name} was not made by avatarkit: move it away.")
            install(journal, self.path, RECORD, [n for n in old if n not in new and self._is_ours(n, old)])

    def add(self, name: str, write: Callable[[Path], None]) -> None:
        """Write one file of the folder and keep the others.

        Args:
            name: of the file.
            write: is given a temporary path of the same name to write to.

        Raises:
            StoreError: no space, no permission, or a file of the user's is in the way.
        """
        self.check([name])
        with disk_errors(self.typed / name), temporary_folder(self.path / name) as staged:
            write(staged / name)
            sha256 = sha256_of(staged / name)
            sync(staged / name)
            files = self.files
            older = files.get(name, "")
            self._record(self.path, files | {name: f"{older} {sha256}".strip()})  # killed now, both are known as ours
            try:
                replace(staged / name, self.path / name)
            except BaseException:
                with suppress(OSError, StoreError):
                    self._record(self.path, files) if files else (self.path / RECORD).unlink()
                raise
            sync(self.path)
            self._record(self.path, files | {name: sha256})

    def _is_ours(self, name: str, files: Mapping[str, str]) -> bool:
        """Return whether a file is as an earlier run left it."""
        path = self.path / name
        if name not in files or _linked(self.path, name) or path.is_symlink() or not path.is_file():
            return False
        return sha256_of(path) in files[name].split()

    def _record(self, folder: Path, files: Mapping[str, str]) -> None:
        data: dict[str, Any] = {"format": _FORMAT, "kind": self.kind, "files": dict(files)}
        write_text(folder / RECORD, json.dumps(data, indent=1) + "\n")


def _empty_folders(folder: Path) -> bool:
    return any(p.is_dir() and not p.is_symlink() and not any(p.iterdir()) for p in folder.rglob("*"))


def exchange(a: Path, b: Path) -> bool:
    """Swap two folders of one disk in one step; return False where the system cannot (all but Linux, some disks)."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename(here, os.fsencode(a), here, os.fsencode(b), swap) == 0
