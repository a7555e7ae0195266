"""Places checkpoints in the folder of weights: fetched, linked or copied, whole or not at all.

While weights are fetched they lie in ``.partial/NAME-COMMIT/``, and ``.partial/NAME-COMMIT.json`` beside it says that fetch
made this folder and which files of it. Nothing else is ever removed or replaced, and nothing is written through a link.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatarkit.errors import AvatarkitError, InputError, StoreError
from avatarkit.utils.files import (
    disk_errors,
    only_user,
    read_text,
    relative_name,
    require_file,
    sha256_of,
    sync,
    sync_folder,
    temporary_folder,
    write_text,
)
from avatarkit.utils.paths import find_weights, weights_folder
from avatarkit.utils.plain import BadText, parse_json
from avatarkit_cli.checkpoints.downloads import Listing, fetch_file, ordinary_size, side_files
from avatarkit_cli.shared import size_text

if TYPE_CHECKING:
    from avatarkit.hookspecs import Weights

__all__ = ["add_weights", "fetch_weights"]

_OPTION = "AVATARKIT_CACHE"  # with which the user chooses another place
_MOST_MARK = 4_000_000  # bytes; names of a thousand files have at most 1.2 MB
_MOST_TRIES = 100  # names for a partial folder, where others are taken by folders that fetch did not make


# ---------------------------------------------------------------------------------------------------------------- fetch


@dataclass(frozen=True)
class _Partial:
    """A folder that fetch made.

    Attributes:
        folder: for the files.
        mark: the record beside it.
        files: that fetch has put there, or tried to.
    """

    folder: Path
    mark: Path
    files: frozenset[str]


def fetch_weights(about: Weights, listing: Listing, report: Callable[[str, float | None], None]) -> Path:
    """Fetch all files into a folder of their own, which then becomes the weights: half of them are never found.

    Args:
        about: what the plugin says.
        listing: what the server has.
        report: told what is fetched and how much of all is here.

    Returns:
        Where they lie.

    Raises:
        MissingWeights: a file was cut off.
        InputError: a file is not what it should be.
        StoreError: no space, no permission,
        another run fetches the same weights, or something lies in the way.
    """
    root = weights_folder()
    with only_user(root / about.name, _OPTION), disk_errors(root, _OPTION):
        if (here := find_weights(about.name)) is not None:  # another run was faster
            return here
        suffix = Path(listing.files[0].path).suffix if about.single else ""
        target = root / f"{about.name}{suffix}"
        _check_free(target)
        (root / ".partial").mkdir(parents=True, exist_ok=True)
        _check_inside(root / ".partial")
        partial = _claim(about.name, listing.commit, {file.path for file in listing.files})
        _remove_old(partial, listing)
        _check_space(about, partial.folder, listing)
        digests = _fetch_files(partial.folder, listing, report)
        _remove_old(partial, listing)
        facts = {"repository": about.repository, "commit": listing.commit, "license": about.license, "sha256": digests}
        _write_record(about.name, facts)
        sync_folder(partial.folder)
        _check_free(target)
        if about.single:
            _move_file(partial.folder / listing.files[0].path, target)
            _discard(partial)
        else:
            os.rename(partial.folder, target)
            partial.mark.unlink(missing_ok=True)
        sync(root)
        for other in _partials(about.name):  # of older commits
            _discard(other)
    return target


def _fetch_files(folder: Path, listing: Listing, report: Callable[[str, float | None], None]) -> dict[str, str]:
    """Fetch what is not here yet; return path -> sha256 of all."""
    done, digests = 0, {}
    for file in listing.files:
        path = folder / file.path
        _check_inside(path)
        if ordinary_size(path) is not None:  # complete in an earlier run; the disk may have damaged it since
            digest = sha256_of(path)
            if digest == file.sha256 or (file.sha256 is None and path.stat().st_size == file.size):
                digests[file.path] = digest
            else:
                path.unlink()
        if file.path not in digests:

            def tell_bytes(here: int, before: int = done, path: str = file.path) -> None:
                report(path, (before + here) / listing.size if listing.size else None)

            digests[file.path] = fetch_file(file, path, tell_bytes)
        done += path.stat().st_size
    return digests


def _check_space(about: Weights, folder: Path, listing: Listing) -> None:
    paths = (folder / name for file in listing.files for name in (file.path, side_files(file.path)[0]))
    here = sum(ordinary_size(path) or 0 for path in paths)
    free, wanted = shutil.disk_usage(folder).free, (listing.size or 0) - here
    if wanted > free:
        raise StoreError(
            f"{about.name} needs {size_text(wanted)} more, and {size_text(free)} are free on the disk of {folder}. "
            f"Free some space, or choose another disk with {_OPTION}."
        )


def _claim(name: str, commit: str, files: set[str]) -> _Partial:
    """Return the partial folder of these weights, made now or by an earlier run, with ``files`` added to its record."""
    base = weights_folder() / ".partial"
    for number in range(1, _MOST_TRIES + 1):
        folder = base / (f"{name}-{commit[:12]}" + (f"-{number}" if number > 1 else ""))
        mark = folder.with_name(f"{folder.name}.json")
        found = _read_mark(mark, name)
        fresh = not os.path.lexists(folder)
        if found is None and not (fresh and not os.path.lexists(mark)):
            continue  # not made by fetch
        if found is not None and (found["commit"] != commit or not (fresh or _is_plain_folder(folder))):
            continue
        known = frozenset(files | set(found["files"] if found else ()))
        facts = {"format": "avatarkit-fetch", "weights": name, "commit": commit, "files": sorted(known)}
        write_text(mark, json.dumps(facts) + "\n")
        folder.mkdir(exist_ok=True)
        return _Partial(folder, mark, known)
    raise StoreError(f"{base} is full of folders for {name} that fetch did not make; move them away and try again.")


def _partials(name: str) -> list[_Partial]:
    """Return all partial folders that fetch made for these weights."""
    found = []
    for mark in sorted((weights_folder() / ".partial").glob(f"{name}-*.json")):
        facts = _read_mark(mark, name)
        folder = mark.with_suffix("")
        if facts is not None and (_is_plain_folder(folder) or not os.path.lexists(folder)):
            found.append(_Partial(folder, mark, frozenset(facts["files"])))
    return found


def _read_mark(path: Path, name: str) -> dict[str, Any] | None:
    """Return what fetch wrote beside a partial folder of weights ``name``.

    None where it did not.
    """
    if path.is_symlink():
        return None
    try:
        facts = parse_json(read_text(path, "record of a fetch", _MOST_MARK))
    except (AvatarkitError, BadText):
        return None
    if not isinstance(facts, dict) or facts.get("format") != "avatarkit-fetch" or facts.get("weights") != name:
        return None
    files = facts.get("files")
    fine = isinstance(facts.get("commit"), str) and isinstance(files, list) and all(map(relative_name, files))
    return facts if fine else None


def _remove_old(partial: _Partial, listing: Listing) -> None:
    """Remove from a partial folder what fetch put there and the listing does not name.

    Raises:
        StoreError: the folder holds something that fetch did not put there.
    """
    wanted = {file.path for file in listing.files}
    kept = wanted | {side for name in wanted for side in side_files(name)}
    _remove(partial, (partial.files | {side for name in partial.files for side in side_files(name)}) - kept)
    done = {side for name in wanted for side in side_files(name) if ordinary_size(partial.folder / name) is not None}
    _remove(partial, done)
    for top, folders, names in os.walk(partial.folder):
        for name in [*names, *(n for n in folders if os.path.islink(os.path.join(top, n)))]:
            path = Path(top, name)
            if path.relative_to(partial.folder).as_posix() not in kept:
                raise StoreError(f"{path} lies among files that are being fetched. Move it away and try again.")


def _discard(partial: _Partial) -> None:
    """Remove a partial folder; what fetch did not put there stays."""
    _remove(partial, {own for name in partial.files for own in (name, *side_files(name))})
    if _is_plain_folder(partial.folder):
        for top, _, _ in os.walk(partial.folder, topdown=False):
            with suppress(OSError):
                os.rmdir(top)
    if not os.path.lexists(partial.folder):
        partial.mark.unlink(missing_ok=True)


def _remove(partial: _Partial, names: Iterable[str]) -> None:
    """Remove ordinary files of a partial folder, and folders that become empty, where no link leads elsewhere."""
    for name in names:
        path = partial.folder / name
        if not _is_inside(path) or not path.is_file():
            continue
        path.unlink()
        for folder in path.parents:
            if folder == partial.folder:
                break
            try:
                folder.rmdir()
            except OSError:
                break


def _write_record(name: str, facts: dict[str, Any]) -> None:
    """Write how weights were fetched; the inverse of ``weights_record``."""
    path = weights_folder() / ".records" / f"{name}.json"
    _check_inside(path)
    write_text(path, json.dumps(facts, indent=2) + "\n")


# ------------------------------------------------------------------------------------------------------------------ add


def add_weights(name: str, file: Path) -> Path:
    """Link a checkpoint of the user's into the folder of weights, or copy it where links cannot be.

    Args:
        name: of the weights.
        file: a file or folder, as the user typed it.

    Returns:
        The link or copy.

    Raises:
        InputError: there is no such file, or weights of that name are here already.
        StoreError: no space, no permission.
    """
    folder = os.path.isdir(file)
    if not folder:
        require_file(file, "checkpoint file or folder")
    if not os.access(file, os.R_OK):
        raise InputError(f"{file} may not be read: ask its owner, or change its permissions.")
    root = weights_folder()
    real, cache = Path(os.path.realpath(file)), Path(os.path.realpath(root))
    if real == cache or real in cache.parents:
        raise InputError(f"{file} holds the folder of all weights, {root}; name the folder of {name} alone.")
    if any(real == own or own in real.parents for own in (cache / ".partial", cache / ".records")):
        raise InputError(f"{file} lies in a folder that avatarkit cleans; move it elsewhere first.")
    target = root / (name if folder else f"{name}{file.suffix}")
    with only_user(root / name, _OPTION), disk_errors(target, _OPTION):
        root.mkdir(parents=True, exist_ok=True)
        old = _links(name)
        kept = find_weights(name)
        if (kept is not None and kept not in old) or (os.path.lexists(target) and target not in old):
            raise InputError(f"{name} is here already: {kept or target}. Delete it first.")
        _link_or_copy(real, target, folder)
        for link in old:
            if link != target:
                link.unlink()
        record = root / ".records" / f"{name}.json"
        if _is_inside(record) and record.is_file():  # of weights that were fetched once and are gone
            record.unlink()
    return target


def remove_weights(name: str) -> list[Path]:
    """Remove weights from the folder of weights: links, copies and downloads, never what a link leads to.

    Returns:
        What was removed; empty if there was nothing.
    """
    root = weights_folder()
    removed = []
    with disk_errors(root, _OPTION):
        for path in [root / name, *root.glob(f"{name}.*")]:
            if not os.path.lexists(path) or name not in (path.name, path.stem):
                continue
            _check_inside(path.parent / "x")
            if path.is_symlink() or path.is_file():
                path.unlink()
            else:  # renamed first, so that half a folder is never taken for the weights
                doomed = root / f".removed-{name}"
                shutil.rmtree(doomed, ignore_errors=True)
                path.rename(doomed)
                shutil.rmtree(doomed)
            removed.append(path)
        record = root / ".records" / f"{name}.json"
        if removed and _is_inside(record) and record.is_file():
            record.unlink()
    return removed


def _links(name: str) -> list[Path]:
    """Return the links that stand for weights, also those whose target is gone."""
    root = weights_folder()
    found = [root / name, *root.glob(f"{name}.*")]
    return [path for path in found if path.is_symlink() and name in (path.name, path.stem)]


def _link_or_copy(real: Path, target: Path, folder: bool) -> None:
    """Put a link to ``real`` in the place of ``target``, which is absent or a link.

    Else a copy.
    """
    with temporary_folder(target) as staged:
        link = staged / "link"
        try:
            link.symlink_to(real, target_is_directory=folder)
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
                raise
            copy = staged / "copy"  # no links on this disk or for this user
            if folder:
                _copy_folder(real, copy)
            else:
                shutil.copyfile(real, copy)
                sync(copy)
            if target.is_symlink():
                target.unlink()
            _check_free(target)
            os.rename(copy, target)
        else:
            os.replace(link, target)
        sync(target.parent)


def _copy_folder(source: Path, target: Path) -> None:
    """Copy a folder of ordinary files; links to files become files.

    Raises:
        InputError: it holds something else.
        StoreError: it needs more space than there is.
    """
    target.mkdir()
    files: list[tuple[Path, Path]] = []
    size = 0
    for top, folders, names in os.walk(source, onerror=_raise):
        for name in folders:
            if (path := Path(top, name)).is_symlink():
                raise InputError(f"{path} is a link to a folder; put the folder itself in its place, so that it can be copied.")
            (target / path.relative_to(source)).mkdir()
        for name in names:
            path = Path(top, name)
            size += require_file(path, "file of a checkpoint")
            files.append((path, target / path.relative_to(source)))
    free = shutil.disk_usage(target).free
    if size > free:
        raise StoreError(f"{source} has {size_text(size)}, and {size_text(free)} are free on the disk of {target.parent.parent}.")
    for path, copy in files:
        shutil.copyfile(path, copy)
    sync_folder(target)


def _raise(error: OSError) -> None:
    raise error


# --------------------------------------------------------------------------------------------------------------- places


def _check_free(target: Path) -> None:
    """Check that nothing lies where weights are to go, not even a link whose target is gone.

    Raises:
        StoreError: something does.
    """
    if os.path.lexists(target):
        raise StoreError(f"{target} is in the way and is not replaced. Move it away and try again.")


def _is_inside(path: Path) -> bool:
    """Return whether a path below the folder of weights stays there, with no link on its way."""
    root = weights_folder()
    return os.path.realpath(path) == os.path.join(os.path.realpath(root), os.path.normpath(path.relative_to(root)))


def _check_inside(path: Path) -> None:
    if not _is_inside(path):
        raise StoreError(f"{path} leads out of the folder of weights through a link. Move the link away and try again.")


def _is_plain_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _move_file(source: Path, target: Path) -> None:
    """Rename a file, never onto another."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno == errno.EEXIST:
            raise
        _check_free(target)
        os.rename(source, target)  # a disk without hard links
    else:
        source.unlink()
