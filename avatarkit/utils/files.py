"""Files: read within limits, written whole or not at all, and never touched if they are the user's.

Every writer of the program goes through ``writing`` (one file) or ``avatarkit.utils.folders.OutputFolder`` (a folder):
the content goes to a temporary name in the same folder, is flushed and renamed. A failure at any point leaves the old state.
Light to import.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path, PurePosixPath

from avatarkit.errors import InputError, StoreError
from avatarkit.utils.leftovers import forget, is_inside, is_temporary, sweep, temporary_name
from avatarkit.utils.paths import cache_folder
from avatarkit.utils.plain import parse_json

__all__ = [
    "avatar_files",
    "check_output",
    "disk_errors",
    "disk_sentence",
    "finish",
    "finishing",
    "inside",
    "only_user",
    "read_text",
    "relative_name",
    "replace",
    "require_file",
    "sha256_of",
    "sync",
    "sync_folder",
    "temporary_folder",
    "utf8_path",
    "write_bytes",
    "write_text",
    "writing",
]

_LONGEST_NAME = 200  # bytes of a file name; file systems take 255, and temporary names and suffixes need some
_STREAMS = ("/dev/std", "/dev/fd/", "/proc/")  # names of what is open already; it may be a file


# --------------------------------------------------------------------------------------------------------------- errors


@contextmanager
def disk_errors(path: Path, option: str = "-o") -> Iterator[None]:
    """Turn what the operating system says about ``path`` into one sentence.

    Args:
        path: as the user typed it; the sentence names it, unless the error is about a file elsewhere.
        option: with which the user chooses another place.

    Raises:
        StoreError: instead of OSError.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(disk_sentence(_named(error, path), error.errno, error, option)) from error


def _named(error: OSError, path: Path) -> Path:
    """Return what an error is about: ``path``, where it is about that, its folders or its temporary files."""
    if not isinstance(error.filename, (str, bytes, os.PathLike)):
        return path
    culprit = Path(os.fsdecode(error.filename))
    if any(is_temporary(part) for part in culprit.parts):
        return path
    own, real = Path(os.path.realpath(path)), Path(os.path.realpath(culprit))
    return path if real == own or real in own.parents else culprit


def disk_sentence(path: Path, number: int | None, error: Exception, option: str = "-o") -> str:
    """Return what an error of the operating system means, and what to do."""
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full: {path} could not be written. Free some space and run the same command again."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        busy = " Close the programs that have it open, or choose" if os.name == "nt" else " Choose"
        return f"{path} may not be written or read: {os.strerror(number or 0)}.{busy} another place with {option}."
    if number in (errno.ENOTDIR, errno.EEXIST):
        return f"{path} cannot be written, because a part of its path is a file. Choose another place with {option}."
    if number == errno.EFBIG:
        return f"{path} cannot be written: it would be larger than this disk or this account allows."
    if number == errno.ENAMETOOLONG:
        return f"The name {path.name[:60]!r}... is too long for this disk; choose a shorter one."
    return f"{path} could not be written or read: {getattr(error, 'strerror', None) or error}."


# -------------------------------------------------------------------------------------------------------------- reading


def require_file(path: Path, what: str, most_bytes: int | None = None) -> int:
    """Check that ``path`` is an ordinary file of a bounded size before anything of it is read.

    Args:
        path: as the user typed it.
        what: what it should be, for messages: ``motion file``.
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
    """Return the sha256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def relative_name(name: object) -> PurePosixPath | None:
    """Return a name from a manifest or a server as a path below some folder; None if it could lead out of it.

    Refused are absolute names, ``..``, empty parts, back-slashes, colons, control characters, names that are too long, and
    parts that end in a space or a dot, which Windows drops.
    """
    if not isinstance(name, str) or not name or len(name) > 1024:
        return None
    if any(c in "\\:" or ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in name):
        return None
    parts = name.split("/")
    if any(part != part.rstrip(" .") or not part or len(part.encode()) > 255 for part in parts):
        return None
    return PurePosixPath(*parts)


@contextmanager
def utf8_path(path: Path) -> Iterator[str]:
    """Give a path to libraries that take only valid UTF-8, through a link if a folder's name is not."""
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
    """Check the name of a file or folder that a command is to write, before it does any work.

    Args:
        path: as the user typed it.
        inputs: files that the command reads; writing over them would destroy them.

    Raises:
        InputError: the name is empty, too long, ``.`` or ``/``, or it is one of the inputs or a part of an avatar.
    """
    text = str(path)
    if "\0" in text or not path.name or path.name == "..":
        raise InputError(f"{text!r} cannot be the name of an output; give the name of a file or folder, e.g. -o out/result.")
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
    place = Path(os.path.realpath(path))
    for folder in place.parents:
        name = place.relative_to(folder).as_posix()
        if (files := avatar_files(folder)) and (name in files or name.split("/")[0] == "cache"):
            raise InputError(f"{path} is a part of {folder.name} and would be overwritten; choose another name with -o.")


def avatar_files(folder: Path) -> tuple[str, ...]:
    """Names of the files of the avatar in ``folder``, the manifest among them; none where there is no avatar."""
    try:
        manifest = parse_json(read_text(folder / "manifest.json", "manifest", 4 << 20))
        return ("manifest.json", *manifest["files"]) if manifest["format"] == "avatarkit-avatar" else ()
    except (InputError, ValueError, OSError, TypeError, KeyError):
        return ()


def read_text(path: Path, what: str, most_bytes: int) -> str:
    """Return the text of an ordinary file in UTF-8, with or without a byte-order mark.

    Raises:
        InputError: it is missing, no ordinary file, too large, or no such text.
    """
    require_file(path, what, most_bytes)
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no {what}: it is not UTF-8 text.") from error


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a temporary file to write to; it becomes ``path`` at the end, or nothing changes.

    Missing folders are made. A link is followed; a device or pipe is written to directly. The permissions of an older
    file stay, a new one gets those of the umask; an older file that is read-only is not replaced.

    Raises:
        StoreError: no space, no permission, or a folder is in the way.
    """
    path = Path(path)
    with disk_errors(path):
        target = Path(os.path.realpath(path))
        older = _facts(path)
        if older is not None and stat.S_ISDIR(older.st_mode):
            raise StoreError(f"{path} is a folder; name a file.")
        if older is not None and (not stat.S_ISREG(older.st_mode) or os.path.abspath(path).startswith(_STREAMS)):
            yield path  # /dev/stdout, /dev/null, a pipe
            return
        if older is not None and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        with _parents(target):
            sweep(target)
            temporary = target.parent / temporary_name(target)
            try:
                os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if older is None else 0o600))
                yield temporary
                finish(temporary, path)
                if older is not None:
                    os.chmod(temporary, stat.S_IMODE(older.st_mode) & 0o777)
                lasting = not is_inside(target)  # else the whole folder is flushed before it counts
                if lasting:
                    sync(temporary)
                replace(temporary, target)
                if lasting:
                    sync(target.parent)
            finally:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
                forget(temporary.name)


_finishers: ContextVar[dict[str, Callable[[Path, Path], None]]] = ContextVar("finishers")


@contextmanager
def finishing(path: Path, change: Callable[[Path, Path], None]) -> Iterator[None]:
    """Call ``change(temporary, path)`` once the file or folder ``path`` is complete, before it takes its name.

    Where it is written without ``writing`` and ``OutputFolder``, ``change(path, path)`` is called at the end.
    """
    place = os.path.realpath(path)
    waiting = {place: change}
    token = _finishers.set(waiting)
    try:
        yield
    finally:
        _finishers.reset(token)
    if place in waiting and (os.path.isfile(path) or os.path.isdir(path)):
        change(path, path)


def finish(temporary: Path, target: Path) -> None:
    """Let the caller of ``finishing`` change a complete file or folder; writers call it before they rename."""
    if change := _finishers.get({}).pop(os.path.realpath(target), None):
        change(temporary, target)


def write_bytes(path: Path, *parts: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        StoreError: as ``writing``.
    """
    with writing(path) as temporary, temporary.open("wb") as stream:
        for part in parts:
            stream.write(part)


def write_text(path: Path, text: str) -> None:
    """Write a file of UTF-8 text with plain line ends, whole or not at all.

    Raises:
        StoreError: as ``writing``.
    """
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """Give a new folder beside ``target``, on the same disk, that is gone at the end unless it was renamed.

    Raises:
        StoreError: no space, no permission.
    """
    with _parents(target):
        with disk_errors(target):
            sweep(target)
            folder = target.parent / temporary_name(target)
            folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            forget(folder.name)


@contextmanager
def _parents(target: Path) -> Iterator[None]:
    """Make the missing folders above ``target``; remove them if the work fails."""
    made: list[Path] = []
    try:
        with disk_errors(target):
            missing = [folder for folder in target.parents if not folder.exists()]
            for folder in reversed(missing):
                with suppress(FileExistsError):  # another process made it just now
                    folder.mkdir()
                    made.append(folder)
                    sync(folder.parent)
            if not target.parent.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target))
        yield
    except BaseException:
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()
        raise


def replace(source: Path, target: Path) -> None:
    """``os.replace`` that waits a moment for programs that have the target open (on Windows)."""
    for wait in (0.05, 0.2, 0.5) if os.name == "nt" else ():
        try:
            os.replace(source, target)
            return
        except PermissionError:
            time.sleep(wait)
    os.replace(source, target)


def _facts(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def sync_folder(folder: Path) -> None:
    """Flush all files below ``folder`` to the disk."""
    for path in sorted(folder.rglob("*")):
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    folder = path.is_dir()
    if folder and os.name == "nt":
        return  # Windows has no handle for folders
    try:
        descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    except PermissionError:
        if folder:  # one that may be written but not listed
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, *((errno.EBADF, errno.EROFS) if folder else ())):  # disks without it
            raise
    finally:
        os.close(descriptor)


# ---------------------------------------------------------------------------------------------------------------- locks

_held: set[tuple[int, str]] = set()  # threads of this process and the locks that they hold


@contextmanager
def only_user(path: Path, option: str = "-o") -> Iterator[None]:
    """Keep other processes of this user away from an output while it is being made; may be nested.

    Where the cache folder cannot be written, there is no lock.

    Args:
        path: of the output.
        option: with which the user chooses another one.

    Raises:
        StoreError: another process is making it.
    """
    from filelock import FileLock, Timeout

    place = os.path.normcase(os.path.realpath(path))
    name = f"{hashlib.sha256(os.fsencode(place)).hexdigest()[:24]}.lock"
    mine = (threading.get_ident(), name)
    if mine in _held:
        yield
        return
    lock = None
    try:
        folder = cache_folder() / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / name)
        lock.acquire(timeout=0)
    except Timeout:  # it is an OSError too
        raise StoreError(f"Another run is making {path} right now; wait for it, or choose another name with {option}.") from None
    except (OSError, NotImplementedError, RuntimeError):  # a read-only home, a disk without locks
        lock = None
    _held.add(mine)
    try:
        yield
    finally:
        _held.discard(mine)
        if lock is not None:
            lock.release()
