"""A finished avatar: a folder that is written whole or not at all, and never holds anything executable.

::

    ada.avatar/
      avatar.safetensors    all tensors
      manifest.json         how it was built, and which files of the folder belong to the avatar
      manifest.c2pa         its signature, where a plugin signs
      ...                   pictures, report; whatever the build adds
      cache/                stages for resume; safe to delete

Files that the manifest does not list are the user's: a rebuild leaves them where they are.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch

from avatarkit.errors import InputError, StoreError
from avatarkit.registry.specs import DISTRIBUTION
from avatarkit.storage.manifest import MOST_BYTES, clean, fault
from avatarkit.storage.stage_cache import Store, StoredTensor, load_tensors, read_header, read_json, save_tensors, write_json
from avatarkit.utils.files import (
    disk_errors,
    finish,
    inside,
    only_user,
    relative_name,
    replace,
    require_file,
    sha256_of,
    sync,
    sync_folder,
    temporary_folder,
)
from avatarkit.utils.folders import install
from avatarkit.utils.plain import BadText, parse_json

__all__ = [
    "FORMAT_VERSION",
    "Bundle",
    "check_extras",
    "read_bundle",
    "read_manifest",
    "read_tensors",
    "recover",
    "stage_folders",
    "workspace",
    "write_bundle",
]

FORMAT = "avatarkit-avatar"
FORMAT_VERSION = 1
_TENSORS, _MANIFEST, _CACHE, _SEAL = "avatar.safetensors", "manifest.json", "cache", "manifest.c2pa"
_UNLISTED = ("preview.png", "preview.mp4", "report.html")  # builds before 0.1 wrote these and listed only the tensors
_MOST_TENSOR_BYTES = 512 << 20  # the largest that our presets make has 40 MB


@dataclass(frozen=True)
class Bundle:
    """An avatar as read from the disk.

    Attributes:
        tensors: name -> tensor, on the CPU. manifest: plain values. path: of the folder.
    """

    tensors: dict[str, torch.Tensor]
    manifest: dict[str, Any]
    path: Path


def workspace(path: Path) -> Path:
    """Where the stages of a build of ``path`` live until (and after) it is finished; may not exist yet.

    Inside an avatar that is there already, else in a hidden folder beside it.

    Raises:
        StoreError: ``path`` is taken by something that is not an avatar.
    """
    typed, path = path, _real(path)
    with disk_errors(typed):
        if _is_avatar(path):
            cache = path / _CACHE
            if cache.is_symlink():  # in an avatar from another person it may lead anywhere, and stages are deleted
                raise StoreError(f"{typed / _CACHE} is a link: delete it, or choose another name with -o.")
            if os.path.lexists(cache) and not cache.is_dir():
                raise StoreError(f"{typed / _CACHE} is a file: move it away, or choose another name with -o.")
            return cache
        if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
            raise StoreError(f"{typed} exists and is not an avatar: choose another name with -o.")
    work = _beside(path, "work")
    if os.path.lexists(work) and (work.is_symlink() or not work.is_dir()):
        raise StoreError(f"{work} is in the way of the build: move it away, or choose another name with -o.")
    return work


def stage_folders(path: Path) -> dict[Path, list[Path]]:
    """Return where builds of ``path`` left stages -> the folders that they made there, which hold the photo.

    Files of the user's beside them are not listed, and links are not followed.
    """
    real = _real(path)
    places = {place: Store(place).folders() for place in (real / _CACHE, _beside(real, "work"))}
    return {place: folders for place, folders in places.items() if folders}


def check_extras(path: Path, names: tuple[str, ...]) -> None:
    """Check before a build that no file of the user's inside an avatar is in the way of what the build adds.

    Raises:
        StoreError: there is one.
    """
    ours = _listed(_real(path))
    for name in (_TENSORS, _MANIFEST, *names):
        place = path / name
        if os.path.lexists(place) and (name not in ours or (place.is_dir() and not place.is_symlink())):
            raise StoreError(f"{place} exists and is not part of the avatar: move it away, or choose another name with -o.")


def write_bundle(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    manifest: Mapping[str, Any],
    extras: Mapping[str, Path | bytes | str] | None = None,
) -> Path:
    """Write an avatar; of an older one at ``path``, replace only the files that its manifest lists, at the very end.

    Args:
        path: of the folder.
        tensors: of the avatar, and of what is needed to play it.
        manifest: plain values; absolute paths in it are cut to their last part: nothing tells of the user's disk. Control
            characters are left out.
        extras: name inside the folder -> file to copy, bytes, or text.

    Raises:
        StoreError: no space, no permission, or ``path`` is taken by something else.
    """
    real = _real(path)
    workspace(real)
    check_extras(real, tuple(extras or {}))
    with temporary_folder(real) as temporary:
        save_tensors(temporary / _TENSORS, tensors)
        with disk_errors(real):
            for name, content in (extras or {}).items():
                _write_extra(temporary / name, content)
            complete = {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                **_portable(manifest),
                "files": {name: sha256_of(temporary / name) for name in sorted({_TENSORS, *(extras or {})})},
            }
        write_json(temporary / _MANIFEST, complete)
        with disk_errors(real):
            finish(temporary, path)
            sync_folder(temporary)
            if _is_avatar(real):
                replace(temporary, _beside(real, "new"))  # from here on the new avatar counts, whatever happens
            else:
                if os.name == "nt" and real.exists():
                    real.rmdir()  # an empty folder; other systems replace it
                replace(temporary, real)
            sync(real.parent)
            recover(real)
    return path


def recover(path: Path) -> None:
    """Finish a ``write_bundle`` that was killed; the caller keeps other processes away with ``only_user``.

    A complete new avatar beside ``path`` takes the place of the old one, and the workspace becomes the avatar's cache.
    """
    path = _real(path)
    new, work = _beside(path, "new"), _beside(path, "work")
    with disk_errors(path):
        if _is_avatar(new) and not os.path.lexists(path):
            replace(new, path)
        elif _is_avatar(path) and new.is_dir() and (_is_avatar(new) or not any(p.is_file() for p in new.rglob("*"))):
            obsolete = []
            if _is_avatar(new):  # else all is there already, but the end of a run that was killed
                old, coming = _files(path), {_MANIFEST, *_files(new)}
                for name in (p.relative_to(new).as_posix() for p in new.rglob("*") if p.is_symlink() or not p.is_dir()):
                    if name not in coming or (name not in {_MANIFEST, *old} and os.path.lexists(path / name)):
                        raise StoreError(f"{new / name} was not made by avatarkit: move {new} away.")
                obsolete = [name for name in old if name not in coming and _unchanged(path, name, old[name])]
            install(new, path, _MANIFEST, obsolete)
        if work.is_dir() and _is_avatar(path) and not os.path.lexists(path / _CACHE):
            replace(work, path / _CACHE)


def _unchanged(folder: Path, name: str, sha256: str) -> bool:
    try:
        own = inside(folder, name) and not (folder / name).is_symlink()
        return own and (name == _SEAL or sha256_of(folder / name) == sha256)
    except OSError:
        return False


def _listed(path: Path) -> set[str]:
    """Names of the files that belong to the avatar at ``path``."""
    return {_MANIFEST, *_files(path)} if _is_avatar(path) else set()


def _files(path: Path) -> dict[str, str]:
    """Name -> sha256 of the files that the manifest at ``path`` lists; "" where it is unknown."""
    manifest = _marked(path) or {}
    files = {n: s for n, s in manifest.get("files", {}).items() if relative_name(n) is not None and isinstance(s, str)}
    stages = manifest.get("stages")
    if [*files] == [_TENSORS] and isinstance(stages, dict) and "preview" in stages:
        files |= dict.fromkeys(_UNLISTED, "")
    if os.path.lexists(path / _SEAL):
        files[_SEAL] = ""  # it signs the manifest, which therefore cannot hold its sha256
    return files


def read_bundle(path: Path) -> Bundle:
    """Read an avatar.

    Raises:
        InputError: there is no avatar at ``path``, it is damaged, or a newer version of avatarkit made it.
    """
    manifest = read_manifest(path)
    return Bundle(read_tensors(path, manifest), manifest, path)


def read_tensors(
    path: Path, manifest: Mapping[str, Any], check: Callable[[Mapping[str, StoredTensor]], None] | None = None
) -> dict[str, torch.Tensor]:
    """Read the tensors of an avatar, on the CPU.

    Args:
        path: of the folder.
        manifest: of the same folder, as ``read_manifest`` gives it.
        check: is shown what the file holds before the numbers are read, and may raise.

    Raises:
        InputError: the file is missing, changed, too large or damaged.
    """
    file = path / _TENSORS
    listed = manifest.get("files", {}).get(_TENSORS)
    _require_own(path, _TENSORS)
    require_file(file, "file of tensors", _MOST_TENSOR_BYTES)
    with disk_errors(file):
        whole = listed == sha256_of(file)
    if not whole:
        raise InputError(f"The avatar {path} is damaged: {_TENSORS} is missing or was changed. Build it again.")
    try:
        header = read_header(file)
        if check is not None:
            check(header)
        return load_tensors(file)
    except StoreError as error:
        raise InputError(f"The avatar {path} is damaged: {error} Build it again.") from error


def read_manifest(path: Path) -> dict[str, Any]:
    """How an avatar was built, without its tensors; every field is of the type and within the bounds of ``manifest``.

    Raises:
        InputError: as ``read_bundle``.
    """
    if not os.path.lexists(path):
        raise InputError(f"There is no avatar {path}.")
    if os.path.lexists(_beside(_real(path), "new")):
        with suppress(StoreError), only_user(path):
            recover(path)
    if not path.is_dir() or not os.path.lexists(path / _MANIFEST):
        raise InputError(f"{path} is not an avatar: an avatar is a folder with a {_MANIFEST}, made by avatarkit build.")
    _require_own(path, _MANIFEST)
    try:
        manifest = read_json(path / _MANIFEST, MOST_BYTES)
    except StoreError as error:
        raise InputError(f"The avatar {path} is damaged: {error} Build it again.") from error
    version = manifest.get("format_version")
    if manifest.get("format") != FORMAT or type(version) is not int:
        raise InputError(f"{path} is not an avatar: its {_MANIFEST} is not one of avatarkit's.")
    if version > FORMAT_VERSION:
        raise InputError(
            f"The avatar {path} was made by a newer avatarkit (format {version}, this one reads {FORMAT_VERSION}): "
            f"pip install --upgrade {DISTRIBUTION}."
        )
    if "licences" in manifest:  # its name up to format 1 of version 0.1
        manifest.setdefault("licenses", manifest.pop("licences"))
    wrong = fault(manifest)
    if wrong is not None:
        raise InputError(f"The avatar {path} is damaged: {wrong}. Build it again.")
    return manifest


def _require_own(path: Path, name: str) -> None:
    """Check that a file is no link out of the avatar, pipe or device; avatars come from other people.

    Raises:
        InputError: it is one.
    """
    if not os.path.lexists(path / name):
        raise InputError(f"The avatar {path} is damaged: {name} is missing or was changed. Build it again.")
    if not inside(path, name):
        raise InputError(f"The avatar {path} is damaged: its {name} is no file, or a link to another place. Build it again.")


# ------------------------------------------------------------------------------------------------------------- renaming


def _real(path: Path) -> Path:
    """Return the folder itself where ``path`` is a link to it."""
    return Path(os.path.realpath(path))


def _beside(path: Path, purpose: str) -> Path:
    """Return a hidden neighbor of an avatar folder."""
    return path.parent / f".{path.name}.{purpose}"


def _is_avatar(path: Path) -> bool:
    """Return whether the folder has an avatar's manifest that lists its tensors; they are not read."""
    return _marked(path) is not None


def _marked(path: Path) -> dict[str, Any] | None:
    """Return the manifest of an avatar; None if there is none, or one that is not ours.

    Raises:
        StoreError: the disk fails.
    """
    file = path / _MANIFEST
    with disk_errors(file):
        try:
            facts = file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > MOST_BYTES or not inside(path, _MANIFEST):
            return None
        data = file.read_bytes()
    try:
        manifest = parse_json(data)
    except BadText:
        return None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or type(manifest.get("format_version")) is not int:
        return None
    files = manifest.get("files")
    return manifest if isinstance(files, dict) and isinstance(files.get(_TENSORS), str) else None


def _write_extra(target: Path, content: Path | bytes | str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path):
        shutil.copyfile(content, target)
    elif isinstance(content, bytes):
        target.write_bytes(content)
    else:
        target.write_text(content, encoding="utf-8")


def _portable(value: Any) -> Any:
    """Plain values without control characters, and with absolute paths anywhere in them cut to their last part."""
    if isinstance(value, Mapping):
        return {clean(str(k)): _portable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_portable(v) for v in value]
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str) and "\n" not in value:
        if value.startswith("/"):
            value = PurePosixPath(value).name
        elif re.match(r"[A-Za-z]:[\\/]|\\\\", value):
            value = PureWindowsPath(value).name
    return clean(value) if isinstance(value, str) else value
