"""Fault injection for writers: whatever fails, the old state or the new one is there, never something between.

::

    from avatarkit.testing.faults import check_writer

    def test_my_exporter_writes_all_or_nothing(tmp_path):
        def write(folder, text="new"):
            my_exporter.write(avatar, params, folder / "ada.txt")

        check_writer(tmp_path, write, before=lambda folder: (folder / "ada.txt").write_text("old"))

The writer runs once to count what it does to the disk: each open, write, flush, fsync, rename, mkdir, unlink and so on. Then it
runs again for each of them and each fault: that one operation fails with "disk full", "permission denied" or "input/output
error", or the process dies there. ``avatarkit.utils.files.writing`` and ``avatarkit.utils.folders.OutputFolder`` pass by
themselves.

Code that writes without Python, such as an encoder of videos, is not seen; ``check_size_limit`` covers it on Linux and macOS: the
system refuses every file that grows beyond a limit.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from avatarkit.errors import AvatarkitError
from avatarkit.utils import folders
from avatarkit.utils.leftovers import forget, is_temporary

__all__ = ["FAULTS", "Killed", "Operation", "check_size_limit", "check_writer", "contents", "disk_operations", "inject"]

FAULTS = ("ENOSPC", "EACCES", "EIO", "kill")
"""What may happen to an operation; ``exit``, a real end of a process of its own, is slower and must be asked for."""
_USERS = {"notes.txt": b"of the user", "pictures/holiday.jpg": b"\xff\xd8 of the user"}
_NO_CLEANUP = ("open", "write", "flush", "close", "fsync", "replace", "mkdir", "chmod", "exchange")  # all but deleting

State = Any
Work = Callable[[Path], object]


class Killed(BaseException):
    """The process died: whatever it tries to do to the disk afterwards does not happen either."""


@dataclass(frozen=True)
class Operation:
    """Something that a writer did to the disk.

    Attributes:
        call: ``open``, ``write``, ``flush``, ``close``, ``fsync``, ``replace``, ``unlink``, ... path: what it was done to.
    """

    call: str
    path: Path


class _Watch:
    """Counts the operations below a folder and lets one of them fail."""

    def __init__(self, root: Path, at: int | None, fault: str | None) -> None:
        self.roots = {os.path.abspath(root), os.path.realpath(root)}
        self.at, self.fault = at, fault
        self.operations: list[Operation] = []
        self.dead = False
        self.descriptors: dict[int, str] = {}
        self.files: list[Any] = []
        self._lock = threading.Lock()

    def place(self, path: Any, folder: int | None = None) -> str | None:
        """Return the absolute path of an argument, None where it is elsewhere."""
        if isinstance(path, int):
            return self.descriptors.get(path)
        name = os.fsdecode(path)
        if folder is not None:
            if folder not in self.descriptors:
                return None
            name = os.path.join(self.descriptors[folder], name)
        name = os.path.abspath(name)
        return name if any(name == root or name.startswith(root + os.sep) for root in self.roots) else None

    def happens(self, call: str, path: str, half: Callable[[], object] | None = None) -> None:
        """Count an operation, or raise its fault; ``half`` is what is done of it all the same."""
        with self._lock:
            if self.dead:
                raise Killed
            number = len(self.operations)
            self.operations.append(Operation(call, Path(path)))
        if number != self.at:
            return
        if half is not None:
            half()
        if self.fault == "exit":
            os._exit(9)
        if self.fault == "kill":
            self.dead = True
            raise Killed
        code = getattr(errno, str(self.fault))
        raise OSError(code, os.strerror(code), path)

    def close_files(self) -> None:
        """Close what a dead process had open, as the system does: what a buffer holds does not reach the disk."""
        for file in self.files:
            binary = getattr(file, "buffer", file)
            getattr(binary, "raw", binary).close()
        self.files.clear()


class _WatchedFile:
    """A file that is open for writing."""

    def __init__(self, file: Any, path: str, watch: _Watch) -> None:
        self._file, self._path, self._watch = file, path, watch

    def write(self, data: Any) -> Any:
        self._watch.happens("write", self._path, lambda: self._file.write(data[: len(data) // 2]))
        return self._file.write(data)

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if not self._file.closed:
            self._watch.happens("flush", self._path)
        self._file.flush()

    def close(self) -> None:
        if self._file.closed:
            return
        try:
            self._watch.happens("close", self._path)
        finally:
            self._file.close()

    def __enter__(self) -> _WatchedFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __del__(self) -> None:
        self._file.close()


@contextmanager
def inject(root: Path, at: int | None = None, fault: str | None = None) -> Iterator[list[Operation]]:
    """Lets one operation below a folder fail.

    Args:
        root: of the operations that count.
        at: which one fails, from 0; None = none.
        fault: see ``FAULTS``.

    Yields:
        The operations so far.
    """
    watch = _Watch(root, at, fault)
    real_open, real_os_open = io.open, os.open

    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        place = watch.place(file) if not isinstance(file, int) else None
        if place is None:
            return real_open(file, mode, *args, **kwargs)
        watch.happens("open", place)
        stream = real_open(file, mode, *args, **kwargs)
        watch.files.append(stream)
        return _WatchedFile(stream, place, watch) if set(mode) & set("wax+") else stream

    def os_opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        place = watch.place(path, dir_fd)
        if place is not None:
            watch.happens("open", place)
        descriptor = real_os_open(path, flags, mode, dir_fd=dir_fd)
        watch.descriptors.pop(descriptor, None)
        if place is not None:
            watch.descriptors[descriptor] = place
        return descriptor

    def watched(module: Any, name: str) -> Any:
        real = getattr(module, name)

        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            folder = kwargs.get("dir_fd", kwargs.get("src_dir_fd"))
            place = watch.place(path, folder)
            if name in ("replace", "rename", "link", "exchange") and args:
                place = watch.place(args[0]) or place
            if place is not None:
                watch.happens("replace" if name == "rename" else name, place)
            return real(path, *args, **kwargs)

        return mock.patch.object(module, name, call)

    names = ("replace", "rename", "unlink", "remove", "rmdir", "mkdir", "fsync", "chmod", "link", "write", "sendfile")
    patches = [watched(os, name) for name in names if hasattr(os, name)]
    patches += [watched(folders, "exchange"), mock.patch.object(os, "open", os_opened)]
    patches += [mock.patch.object(io, "open", opened), mock.patch.object(builtins, "open", opened)]
    for patch in patches:
        patch.start()
    try:
        yield watch.operations
    finally:
        for patch in reversed(patches):
            patch.stop()
        if watch.dead:
            watch.close_files()


def disk_operations(root: Path, work: Callable[[], object]) -> list[Operation]:
    """Return what ``work`` does to the disk below ``root``."""
    with inject(root) as operations:
        work()
    return operations


def contents(folder: Path) -> dict[str, bytes]:
    """Name -> bytes of the files below a folder, without the hidden ones of avatarkit."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".avatarkit") for part in name.parts):
            found[name.as_posix()] = path.read_bytes()
    return found


def check_writer(
    folder: Path,
    write: Work,
    *,
    before: Work | None = None,
    read: Callable[[Path], State] = contents,
    faults: Iterable[str] = FAULTS,
    rotate: bool = False,
) -> int:
    """Check that a writer leaves the old state or the new one, whatever fails, and nothing of the user's changes.

    Args:
        folder: an empty one to work in.
        write: writes the new state into the folder that it is given; running it again gives the same.
        before: writes the old state into the folder that it is given; None = there is none.
        read: the state of the folder, as the program's own reader sees it: what the next run would repair is repaired.
        faults: which ones, see ``FAULTS``; ``exit`` too, where processes can be forked.
        rotate: let each operation have one of the faults and the next one of the others, for slow writers.

    Returns:
        How many faults were tried.

    Raises:
        AssertionError: what is wrong, after which operation.
    """
    with mock.patch.object(os, "fsync", lambda _: None):  # noqa: PT008 (counted, not done: it is slow)
        return _check_writer(folder, write, before, read, tuple(faults), rotate)


def _check_writer(
    folder: Path, write: Work, before: Work | None, read: Callable[[Path], State], faults: tuple[str, ...], rotate: bool
) -> int:
    template, work = folder / "template", folder / "work"
    template.mkdir(parents=True)
    for name, content in _USERS.items():
        (template / name).parent.mkdir(exist_ok=True)
        (template / name).write_bytes(content)
    if before is not None:
        before(template)
    shutil.copytree(template, work, symlinks=True)
    old = read(work)
    kept = _bytes(template)
    operations = disk_operations(work, lambda: write(work))
    new, names, after = read(work), _names(work), _bytes(work)
    changed = {o.path for o in operations if o.call in ("write", "replace", "exchange", "unlink", "rmdir")}
    own = {name for name in kept if changed & {work / name, *(work / name).parents}}
    kept = {name: content for name, content in kept.items() if name not in own and after.get(name) == content}
    lost = [name for name in _USERS if name not in kept]
    assert not lost, f"without any fault, {lost} of the user changed"
    tried = 0
    for count, number in enumerate(_chosen(operations)):
        for fault in (faults[count % len(faults)],) if rotate else faults:
            shutil.rmtree(work)
            shutil.copytree(template, work, symlinks=True)
            what = f"after {fault} at operation {number}, {operations[number].call} of {operations[number].path.name}"
            _try(work, write, read, number, fault, operations[number].call, (old, new), kept, names, what)
            tried += 1
    shutil.rmtree(work)
    shutil.rmtree(template)
    return tried


def _try(
    work: Path,
    write: Work,
    read: Callable[[Path], State],
    number: int,
    fault: str,
    call: str,
    states: tuple[State, State],
    kept: Mapping[str, bytes],
    names: set[str],
    what: str,
) -> None:
    failed = _fails_in_a_process(work, write, number) if fault == "exit" else _fails(work, write, number, fault, what)
    dead = fault in ("exit", "kill")
    if dead:
        forget()
    elif failed and call in _NO_CLEANUP:
        left = [name for name in _names(work) if any(is_temporary(part) for part in Path(name).parts)]
        assert not left, f"{what}: {left} stayed"
    found = read(work)
    if not failed:
        assert found == states[1], f"{what}: the writer said nothing, but the new state is not there"
    assert found in states, f"{what}: neither the old state nor the new one is there"
    changed = [name for name, content in kept.items() if _bytes(work).get(name) != content]
    assert not changed, f"{what}: {changed} changed"
    write(work)
    assert read(work) == states[1], f"{what}: the next run does not give the new state"
    assert _names(work) == names, f"{what}: after the next run there are {sorted(_names(work) ^ names)} more or less"
    changed = [name for name, content in kept.items() if _bytes(work).get(name) != content]
    assert not changed, f"{what}: {changed} changed in the next run"


def _fails(work: Path, write: Work, number: int, fault: str, what: str) -> bool:
    with inject(work, number, fault):
        try:
            write(work)
        except (AvatarkitError, Killed):
            return True
        except Exception as error:
            raise AssertionError(f"{what}: {type(error).__name__} ({error}) instead of an error of avatarkit") from error
    return False


def _fails_in_a_process(work: Path, write: Work, number: int) -> bool:
    """Return the same in a process of its own that really ends."""

    def run() -> int:
        with inject(work, number, "exit"):
            write(work)
        return 0

    return _forked(run) != 0


def check_size_limit(
    folder: Path,
    write: Work,
    limits: Iterable[int],
    *,
    before: Work | None = None,
    read: Callable[[Path], State] = contents,
) -> int:
    """Check a writer that may be native: no file may grow beyond a limit, as on a disk that is full.

    Args:
        folder: an empty one to work in.
        write: as for ``check_writer``.
        limits: bytes, each is tried; smaller than what is written.
        before: as for ``check_writer``.
        read: as for ``check_writer``.

    Returns:
        How many limits were tried.

    Raises:
        AssertionError: what is wrong, with which limit.
    """
    import resource  # absent on Windows

    tried = 0
    for limit in limits:
        work = folder / f"limit-{limit}"
        for name, content in _USERS.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_bytes(content)
        if before is not None:
            before(work)
        old, files = read(work), _bytes(work)

        def run(work: Path = work, limit: int = limit) -> int:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            try:
                write(work)
            except AvatarkitError:
                return 3
            return 0

        code = _forked(run)
        assert code == 3, f"with files of at most {limit} bytes the writer ended with {code} instead of an error of avatarkit"
        assert read(work) == old, f"with files of at most {limit} bytes the old state is gone"
        assert _bytes(work) == files, f"with files of at most {limit} bytes something changed"
        tried += 1
        shutil.rmtree(work)
    return tried


def _forked(run: Callable[[], int]) -> int:
    """Return the exit code of ``run`` in a process of its own; 1 where it raises."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads; the child uses none of them
        child = os.fork()
    if child == 0:
        code = 1
        with suppress(BaseException):
            code = run()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _chosen(operations: list[Operation]) -> list[int]:
    """All, but of many writes to one file one after the other only the first, a middle one and the last."""
    chosen: list[int] = []
    start = 0
    for number in range(1, len(operations) + 1):
        if number == len(operations) or operations[number] != operations[start] or operations[start].call != "write":
            chosen += sorted({start, (start + number - 1) // 2, number - 1})
            start = number
    return chosen


def _names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def _bytes(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
