"""Files of the user: read within bounds, written whole or not at all, never touched where they are not ours.

Every writer of the program goes through ``writing`` (one file) or ``OutputFolder`` (a folder of files): the content goes
to a temporary name in the same folder, is flushed to the disk and renamed. A failure at any point leaves what was there
before. Light to import.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from avatarkit.errors import InputError, StoreError
from avatarkit.utils.paths import cache_folder

__all__ = [
    "OutputFolder",
    "check_output",
    "disk_errors",
    "inside",
    "install",
    "only_user",
    "relative_name",
    "require_file",
    "sha256_of",
    "sync_folder",
    "temporary_folder",
    "utf8_path",
    "write_bytes",
    "write_text",
    "writing",
]

_RECORD = ".avatarkit.json"
_LONGEST_NAME = 200  # bytes of a file name; file systems take 255, and temporary names and suffixes need some


# --------------------------------------------------------------------------------------------------------------- errors


@contextmanager
def disk_errors(path: Path, option: str = "-o") -> Iterator[None]:
    """Turns what the operating system says about ``path`` into one sentence.

    Args:
        path: that is written or read. option: with which the user chooses another place.

    Raises:
        StoreError: instead of OSError.
    """
    try:
        yield
    except OSError as error:
        place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes)) else path
        raise StoreError(disk_sentence(place, error.errno, error, option)) from error


def disk_sentence(path: Path, number: int | None, error: Exception, option: str = "-o") -> str:
    """What an error of the operating system means, and what to do."""
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full: {path} could not be written. Free some space and run the same command again."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path} may not be written or read: {os.strerror(number or 0)}. Choose another folder with {option}."
    if number == errno.ENOTDIR:
        return f"{path} cannot be made, because a part of its path is a file."
    if number == errno.ENAMETOOLONG:
        return f"The name {path.name[:60]!r}... is too long for this disk; choose a shorter one."
    return f"{path} could not be written or read: {getattr(error, 'strerror', None) or error}."


# -------------------------------------------------------------------------------------------------------------- reading


def require_file(path: Path, what: str, most_bytes: int | None = None) -> int:
    """Checks that ``path`` is an ordinary file of a bounded size before anything of it is read.

    Args:
        path: as the user typed it. what: what it should be, for messages: ``motion file``.
        most_bytes: the largest size that is read; None = any.

    Returns:
        Its size in bytes.

    Raises:
        InputError: it is missing, a folder, a pipe or device, or too large.
    """
    try:
        facts = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"There is no {what} {path}; check its name and folder.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if stat.S_ISDIR(facts.st_mode):
        raise InputError(f"{path} is a folder; give the path of one {what}.")
    if not stat.S_ISREG(facts.st_mode):
        raise InputError(f"{path} is a pipe or a device; save the {what} as a file and give its path.")
    if most_bytes is not None and facts.st_size > most_bytes:
        size, most = facts.st_size / 1e6, most_bytes / 1e6
        raise InputError(f"{path} has {size:,.0f} MB; a {what} may have at most {most:,.0f} MB.")
    return facts.st_size


def sha256_of(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def relative_name(name: object) -> PurePosixPath | None:
    """A name from a manifest or a server as a path below some folder; None where it could lead out of it.

    Refused are absolute names, ``..``, empty parts, back-slashes, colons, control characters and names that are too long.
    """
    if not isinstance(name, str) or not name or len(name) > 1024:
        return None
    if any(c in "\\:" or ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in name):
        return None
    parts = name.split("/")
    if any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts):
        return None
    return PurePosixPath(*parts)


@contextmanager
def utf8_path(path: Path) -> Iterator[str]:
    """The path for libraries that take no names but valid UTF-8: where a folder's name is none, through a link to it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix="avatarkit-") as folder:
            link = Path(folder, "link")
            link.symlink_to(path.parent.absolute(), target_is_directory=True)
            yield str(link / path.name)
    else:
        yield str(path)


def inside(folder: Path, name: str | PurePosixPath) -> bool:
    """Whether ``name`` is an ordinary file in ``folder`` itself: no pipe or device, and reached by no link that leads out of it.

    Folders come from other people; what they hold must not make us read, replace or delete anything elsewhere.
    """
    try:
        root, file = os.path.realpath(folder, strict=True), os.path.realpath(folder / name, strict=True)
        return os.path.commonpath([root, file]) == root and stat.S_ISREG(os.stat(file).st_mode)
    except (OSError, ValueError):
        return False


# -------------------------------------------------------------------------------------------------------------- writing


def check_output(path: Path, *inputs: Path | None) -> None:
    """Checks the name of a file or folder that a command is to write, before it does any work.

    Args:
        path: as the user typed it. inputs: files that the command reads; writing over them would destroy them.

    Raises:
        InputError: the name is empty, too long, ``.`` or ``/``, or it is one of the inputs.
    """
    text = str(path)
    if "\0" in text or not path.name or path.name == "..":
        raise InputError(f"{text!r} is no name for an output; give the name of a file or folder, e.g. -o out/result.")
    try:
        long = len(path.name.encode()) > _LONGEST_NAME
    except UnicodeEncodeError:
        raise InputError(f"{text!a} is not valid text; choose another name with -o.") from None
    if long:
        raise InputError(f"The name {path.name[:40]!r}... is too long; choose one of at most {_LONGEST_NAME} bytes with -o.")
    for other in inputs:
        if other is not None:
            with suppress(OSError, ValueError):
                if os.path.samefile(path, other):
                    raise InputError(f"{path} is an input of this command and would be overwritten; choose another name with -o.")


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary file to write to; it becomes ``path`` at the end, or nothing changes.

    Missing folders are made. A link is followed; a device or pipe is written to directly.

    Raises:
        StoreError: no space, no permission, or a folder is in the way.
    """
    target = Path(os.path.realpath(path))
    with disk_errors(path):
        if target.exists() and not target.is_file() and not target.is_dir():
            yield target  # /dev/stdout, /dev/null
            return
        if target.is_dir():
            raise StoreError(f"{path} is a folder; name a file.")
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        temporary = _claim(target)
        try:
            yield temporary
            os.chmod(temporary, _mode(target))
            sync(temporary)
            os.replace(temporary, target)
            sync(target.parent)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_bytes(path: Path, *parts: bytes) -> None:
    """Writes a file, whole or not at all.

    Raises:
        StoreError: as ``writing``.
    """
    with writing(path) as temporary, temporary.open("wb") as stream:
        for part in parts:
            stream.write(part)


def write_text(path: Path, text: str) -> None:
    """Writes a file of UTF-8 text with plain line ends, whole or not at all.

    Raises:
        StoreError: as ``writing``.
    """
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """A new folder beside ``target``, on the same disk, that is gone at the end unless it was renamed.

    Raises:
        StoreError: no space, no permission.
    """
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        folder = target.parent / _temporary_name(target)
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _temporary_name(target: Path) -> str:
    """Hidden, short enough for every disk, and told apart from everything that a person would name so."""
    return f".avatarkit-{_digest(target)}-{os.getpid():x}-{secrets.token_hex(4)}.tmp"


def _digest(target: Path) -> str:
    return hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]


def _claim(target: Path) -> Path:
    temporary = target.parent / _temporary_name(target)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return temporary


def _sweep(target: Path) -> None:
    """Deletes what writers of ``target`` left that were killed."""
    pattern = re.compile(rf"\.avatarkit-{_digest(target)}-([0-9a-f]+)-[0-9a-f]{{8}}\.tmp")
    for path in target.parent.glob(f".avatarkit-{_digest(target)}-*.tmp"):
        match = pattern.fullmatch(path.name)
        if match and not _alive(int(match[1], 16)):
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _alive(process: int) -> bool:
    """Whether a process of this machine may still run."""
    if process == os.getpid():
        return True
    if os.name == "nt":  # there os.kill ends it; a file that is open there cannot be deleted anyway
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _mode(target: Path) -> int:
    """Permissions of the file that is replaced, else those that a new file gets."""
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def sync_folder(folder: Path) -> None:
    """Makes sure that all files below ``folder`` are on the disk."""
    for path in sorted(folder.rglob("*")):
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Makes sure that a file or the names in a folder are on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows has no handle for folders
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # disks without it
            raise
    finally:
        os.close(descriptor)


# -------------------------------------------------------------------------------------------------------------- folders


def install(staged: Path, target: Path, last: str, obsolete: Iterable[str] = ()) -> None:
    """Moves the files of one folder into another; killed anywhere, the same call goes on.

    Args:
        staged: complete and on the disk; empty folders of it are removed at the end.
        target: exists; files in it that ``staged`` does not hold stay.
        last: name of the file that makes the others count.
        obsolete: names in ``target`` that are deleted unless ``staged`` brings them anew.
    """
    names = sorted(p.relative_to(staged).as_posix() for p in staged.rglob("*") if not p.is_dir())
    for name in obsolete:
        if name not in names and name != last:
            with suppress(FileNotFoundError, NotADirectoryError):
                (target / name).unlink()
            _remove_empty((target / name).parent, target)
    for name in [*(n for n in names if n != last), *(n for n in names if n == last)]:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged / name, target / name)
    sync(target)
    for folder in sorted((p for p in staged.rglob("*") if p.is_dir()), reverse=True):
        folder.rmdir()
    staged.rmdir()


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root and root in folder.parents:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


class OutputFolder:
    """A folder that a command writes: only files that it wrote itself are ever replaced or removed.

    What was written is listed, with checksums, in the hidden file ``.avatarkit.json`` in it.

    Args:
        path: of the folder; may not exist yet. kind: what the folder is, e.g. ``frames``.

    Raises:
        StoreError: ``path`` is a file.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.kind = Path(os.path.realpath(path)), kind
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{path} is a file; choose another name for the folder with -o.")

    @property
    def files(self) -> dict[str, str]:
        """Name -> sha256 of the files that an earlier run wrote."""
        try:
            with (self.path / _RECORD).open("rb") as stream:
                found = json.loads(stream.read(1 << 26))
            files = found["files"] if found["format"] == "avatarkit-output" and found["kind"] == self.kind else {}
            return {n: s for n, s in files.items() if relative_name(n) is not None and isinstance(s, str)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}

    def check(self, names: Iterable[str]) -> None:
        """Checks that no file of the user's is in the way of ``names``.

        Raises:
            StoreError: there is one.
        """
        ours = self.files
        for name in names:
            if name not in ours and os.path.lexists(self.path / name):
                raise StoreError(f"{self.path / name} exists and was not made by avatarkit; choose another folder with -o.")

    @contextmanager
    def replace(self) -> Iterator[Path]:
        """A new folder to write all files to; at the end they replace those of the earlier run, or nothing changes.

        Raises:
            StoreError: no space, no permission, or a file of the user's is in the way.
        """
        with temporary_folder(self.path) as staged:
            yield staged
            with disk_errors(self.path):
                names = sorted(p.relative_to(staged).as_posix() for p in staged.rglob("*") if p.is_file())
                self.check(names)
                old = self.files
                self._record(staged, {name: sha256_of(staged / name) for name in names})
                sync_folder(staged)
                if not self.path.exists():
                    os.replace(staged, self.path)
                    sync(self.path.parent)
                else:
                    self._record(self.path, old | self._files_of(staged))  # killed now, both sets are known as ours
                    install(staged, self.path, _RECORD, [n for n, s in old.items() if self._unchanged(n, s)])

    def add(self, name: str, write: Callable[[Path], None]) -> None:
        """Writes one file of the folder and keeps the others.

        Args:
            name: of the file. write: is given the temporary path to write to.

        Raises:
            StoreError: no space, no permission, or a file of the user's is in the way.
        """
        self.check([name])
        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self._record(self.path, self.files | {name: ""})
        with writing(self.path / name) as temporary:
            write(temporary)
        self._record(self.path, self.files | {name: sha256_of(self.path / name)})

    def _unchanged(self, name: str, sha256: str) -> bool:
        try:
            return sha256_of(self.path / name) == sha256
        except OSError:
            return False

    def _files_of(self, staged: Path) -> dict[str, str]:
        return dict(json.loads((staged / _RECORD).read_text(encoding="utf-8"))["files"])

    def _record(self, folder: Path, files: Mapping[str, str]) -> None:
        data: dict[str, Any] = {"format": "avatarkit-output", "kind": self.kind, "files": dict(files)}
        write_text(folder / _RECORD, json.dumps(data, indent=1) + "\n")


# ---------------------------------------------------------------------------------------------------------------- locks


@contextmanager
def only_user(path: Path, option: str = "-o") -> Iterator[None]:
    """Keeps other processes of this user away from an output while it is being made.

    Args:
        path: of the output. option: with which the user chooses another one.

    Raises:
        StoreError: another process is making it.
    """
    from filelock import FileLock, Timeout

    place = os.path.normcase(os.path.realpath(path))
    name = f"{hashlib.sha256(os.fsencode(place)).hexdigest()[:24]}.lock"
    with disk_errors(path, option):
        folder = cache_folder() / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / name)
    with disk_errors(path, option):
        try:
            lock.acquire(timeout=0)
        except Timeout:  # it is an OSError too
            raise StoreError(f"Another run is making {path} right now; wait for it, or choose another with {option}.") from None
    try:
        yield
    finally:
        lock.release()
