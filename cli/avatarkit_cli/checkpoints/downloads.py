"""Fetches files over HTTP: whole or not at all, resumed where they were cut off, checked before they count.

Written by hand, because huggingface_hub installs 15 MB (with hf-xet), imports in 0.25 s beside 0.17 s of this module, and checks
over HTTP the size of a file but not its sha256.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from avatarkit.errors import InputError, MissingWeights, StoreError
from avatarkit.utils.files import disk_errors, disk_sentence, sha256_of, sync
from avatarkit_cli.checkpoints.listings import Listing, RemoteFile, list_files, offline, side_files
from avatarkit_cli.checkpoints.web import Answer, Broken, Clock, content_length, host_of, open_url, phrase, read_piece

__all__ = ["Listing", "RemoteFile", "fetch_file", "list_files", "offline", "ordinary_size", "side_files"]

TRIES, PAUSE_SECONDS, BLOCK = 4, 0.5, 2**18  # a try that ends for want of time counts twice
TIMEOUT_SECONDS = 10.0  # without a byte, and until the headers are complete
SPEED_SECONDS, SLOWEST = 20.0, 1000.0  # bytes per second that a file must come with, on average over so many seconds


def ordinary_size(path: Path) -> int | None:
    """Return the size of a file that fetch made; None where there is none.

    A second name of a file elsewhere (a hard link) is given up, so that the other one keeps its bytes.

    Raises:
        StoreError: a link, folder or pipe lies there.
    """
    try:
        facts = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(facts.st_mode):
        raise StoreError(f"{path} is a link, a folder or a pipe, which fetch did not make. Move it away and try again.")
    if facts.st_nlink > 1:
        path.unlink()
        return None
    return facts.st_size


def fetch_file(file: RemoteFile, target: Path, report: Callable[[int], None] = lambda bytes_here: None) -> str:
    """Fetch one file; what an earlier try left in ``TARGET.part`` is gone on from.

    Args:
        file: what.
        target: where it goes; it is there only when it is whole and right.
        report: told how many bytes are here.

    Returns:
        Its sha256, hexadecimal.

    Raises:
        MissingWeights: it was cut off, or is refused.
        InputError: it is not what it should be; it is deleted.
        StoreError: the disk is full or may not be written, or something lies in the way.
    """
    part = target.with_name(side_files(target.name)[0])
    download = _Download(file, part, report)
    with disk_errors(target, "AVATARKIT_CACHE"):
        if os.path.lexists(target):
            raise StoreError(f"{target} exists already and is not replaced. Move it away and try again.")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not file.sha256:  # bytes of an earlier run could not be checked
            _delete(part)
        download.run()
        digest = sha256_of(part)
        wanted = file.sha256.lower() if file.sha256 else digest
        if digest != wanted and download.resumed:  # perhaps only the bytes of the earlier run are damaged
            _delete(part)
            download.run()
            digest = sha256_of(part)
        if digest != wanted:
            _delete(part)
            raise InputError(
                f"{file.path} is not what it should be and was deleted: its sha256 is {digest}, not {wanted}. Fetch it again."
            )
        sync(part)
        os.replace(part, target)
        _tag(part).unlink(missing_ok=True)
    return digest


class _Download:
    """One file on its way.

    ``resumed`` tells whether bytes of an earlier request are among those that are here.
    """

    def __init__(self, file: RemoteFile, part: Path, report: Callable[[int], None]) -> None:
        self.file, self.part, self.report = file, part, report
        self.resumed = False
        self._clock = Clock(TIMEOUT_SECONDS, TIMEOUT_SECONDS)

    def run(self) -> None:
        """Ask for the file until all of it is here.

        Raises:
            MissingWeights: it was cut off too often.
        """
        tries, pause = TRIES, PAUSE_SECONDS
        while True:
            try:
                if self._go_on():
                    return
                reason, cost = "the connection was closed early", 1
            except Broken as error:
                reason, cost = str(error), 2 if error.slow else 1
            tries -= cost
            if tries <= 0:
                here, size = ordinary_size(self.part) or 0, self.file.size
                of = f" of {size}" if size is not None else ""
                raise MissingWeights(
                    f"{self.file.path} was cut off after {here}{of} bytes ({reason}). "
                    "What came is kept: give the same command again."
                )
            time.sleep(pause)
            pause *= 2

    def _go_on(self) -> bool:
        """Send one request; return whether the part is whole."""
        here, tag = ordinary_size(self.part) or 0, _read_tag(self.part)
        self.resumed = here > 0
        if here and here == self.file.size:
            return True
        if self.file.size is not None and here > self.file.size:
            here = 0
        headers = {"Range": f"bytes={here}-", "If-Range": tag} if here and tag else {}
        self._clock = Clock(TIMEOUT_SECONDS, TIMEOUT_SECONDS)
        with open_url(self.file.url, headers, self._clock) as answer:
            if answer.status == 416 and headers:
                if self.file.size is None and answer.headers.get("Content-Range", "").strip() == f"bytes */{here}":
                    return True
                _delete(self.part)
            if answer.status in (408, 416, 429) or answer.status >= 500:
                raise Broken(f"the server answers {phrase(answer.status)}")
            if answer.status not in (200, 206):
                raise MissingWeights(f"{self.file.path} cannot be fetched: the server answers {phrase(answer.status)}.")
            if answer.status == 200:
                here, self.resumed = 0, False
            elif not headers or answer.headers.get("ETag", tag).strip() != tag:
                _delete(self.part)
                raise Broken("the server sends a part that was not asked for")
            try:
                return self._receive(answer, here, self._total(answer, here))
            except InputError:
                _delete(self.part)
                raise

    def _total(self, answer: Answer, here: int) -> int | None:
        """Return the bytes that the whole file has.

        None where only the end of the answer tells.

        Raises:
            InputError: the answer makes no sense, or announces more than the list of files does.
        """
        file, length = self.file, content_length(answer)
        announced = None if length is None else here + length
        if answer.status == 206:
            text = answer.headers.get("Content-Range", "").strip()
            found = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", text)
            if found is None or int(found[1]) != here:
                raise InputError(f"{host_of(answer.url)} answers with a malformed Content-Range; {file.path} was not fetched.")
            announced = int(found[3]) if found[3] != "*" else announced
        if announced is None and file.size is None and not (answer.chunked or file.sha256):
            raise InputError(f"{host_of(answer.url)} does not say how long {file.path} is; it was not fetched.")
        if file.size is not None and announced is not None and announced > file.size:
            raise self._too_long(file.size)
        return announced if file.size is None else file.size

    def _receive(self, answer: Answer, here: int, total: int | None) -> bool:
        """Append an answer to the part; return whether it is whole."""
        part, free = self.part, shutil.disk_usage(self.part.parent).free
        if total is None:
            most = min(self.file.most, here + free * 9 // 10)
        elif self.file.size is None and total > self.file.most:
            raise self._too_long(self.file.most)
        elif total - here > free:
            raise StoreError(f"{self.file.path} has {total} bytes, and {free} are free on the disk of {part.parent}.")
        else:
            most = total
        if not here:  # the old tag goes first and the new one comes last: no tag ever stands by bytes of another version
            _tag(part).unlink(missing_ok=True)
        descriptor = _open_own(part, os.O_APPEND if here else os.O_TRUNC)
        try:
            if not here:
                _write_tag(part, answer.headers.get("ETag", ""))
            told, goal = 0.0, float(here)
            while True:
                if here >= goal:
                    self._clock.restart(SPEED_SECONDS)
                    goal = here + SLOWEST * SPEED_SECONDS
                if not (block := read_piece(answer, BLOCK)):
                    break
                if here + len(block) > most:
                    raise self._too_long(most)
                _write(descriptor, block, part, here)
                here += len(block)
                if (now := time.monotonic()) - told > 0.1:
                    told = now
                    self.report(here)
        finally:
            os.close(descriptor)
        self.report(here)
        return total is None or here == total

    def _too_long(self, most: int) -> InputError:
        return InputError(f"{self.file.path} is longer than the {most} bytes that it should have; nothing was kept.")


def _write(descriptor: int, block: bytes, part: Path, here: int) -> None:
    """Write all of a block.

    Raises:
        StoreError: the disk is full; what came stays.
    """
    view = memoryview(block)
    while view:
        try:
            written = os.write(descriptor, view)
        except OSError as error:
            kept = f"What came ({here + len(block) - len(view)} bytes) is kept."
            raise StoreError(f"{disk_sentence(part, error.errno, error, 'AVATARKIT_CACHE')} {kept}") from error
        view = view[written:]


def _open_own(path: Path, how: int) -> int:
    """Open a file of ours for writing, never through a link."""
    ordinary_size(path)
    flags = os.O_WRONLY | os.O_CREAT | how | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o666)


def _tag(part: Path) -> Path:
    """Return the file of the server's tag of a part, which keeps versions apart."""
    return part.with_name(f"{part.name}.etag")


def _read_tag(part: Path) -> str:
    """Return the tag that belongs to a part, or nothing."""
    size = ordinary_size(_tag(part))
    return _strong(_tag(part).read_text(encoding="latin-1")) if size is not None and size <= 1024 else ""


def _write_tag(part: Path, text: str) -> None:
    if tag := _strong(text):
        descriptor = _open_own(_tag(part), os.O_TRUNC)
        try:
            os.write(descriptor, tag.encode("ascii"))
        finally:
            os.close(descriptor)


def _strong(text: str) -> str:
    """Return a tag that stands for exactly these bytes, or nothing: weak and malformed ones cannot be relied on."""
    return text.strip() if re.fullmatch(r'"[\x21\x23-\x7e]{1,200}"', text.strip()) else ""


def _delete(part: Path) -> None:
    """Delete a part and its tag."""
    for path in (part, _tag(part)):
        if ordinary_size(path) is not None:
            with suppress(FileNotFoundError):
                path.unlink()
