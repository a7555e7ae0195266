"""Streams for the library that signs: it ends the process if one of its streams raises, so that none may."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

from avatarkit.errors import StoreError
from avatarkit.utils.files import disk_sentence

__all__ = ["Guarded", "raise_kept"]

T = TypeVar("T")


class Guarded:
    """A stream whose errors are kept, and raised by ``raise_kept`` afterwards.

    Args:
        file: what is read or written; None keeps nothing, because of what goes beside a file only the signature is wanted.
    """

    def __init__(self, file: IO[bytes] | None) -> None:
        self._file, self._at, self._end = file, 0, 0
        self.error: BaseException | None = None

    def _do(self, work: Callable[[IO[bytes]], T], otherwise: T) -> T:
        if self._file is None or self.error is not None:
            return otherwise
        try:
            return work(self._file)
        except BaseException as error:  # a full disk, an interruption
            self.error = error
            return otherwise

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes; b"" after an error."""
        return self._do(lambda file: file.read(size), b"")

    def write(self, data: bytes) -> int:
        """Return how many bytes were taken: all."""
        self._at += len(data)
        self._end = max(self._end, self._at)
        return self._do(lambda file: file.write(data), len(data))

    def seek(self, offset: int, whence: int = 0) -> int:
        """Return the new place."""
        self._at = max(0, offset + (0, self._at, self._end)[whence])
        return self._do(lambda file: file.seek(offset, whence), self._at)

    def tell(self) -> int:
        """Return the place."""
        return self._do(lambda file: file.tell(), self._at)

    def flush(self) -> None:
        """Hand on what was written."""
        self._do(lambda file: file.flush(), None)


def raise_kept(named: Path, *streams: Guarded) -> None:
    """Raise what went wrong with the streams while the library ran."""
    for error in (stream.error for stream in streams if stream.error is not None):
        if isinstance(error, OSError):
            raise StoreError(disk_sentence(named, error.errno, error)) from error
        raise error
