"""Standard streams that never cause a traceback: closed, full, without a reader, or of any encoding.

Fast to import.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["ReaderLeftError", "finish", "install", "without_descriptor"]


class ReaderLeftError(BrokenPipeError):
    """The reader of our output has closed the pipe, e.g. ``| head``."""


class _Stdout(io.TextIOWrapper):
    """Reports an error if the output cannot be written."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise _failure(error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise _failure(error) from error


class _Stderr(io.TextIOWrapper):
    """Becomes silent if it cannot be written: there is no other place to report it."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError:
            _silence(2)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            _silence(2)


def install() -> None:
    """Replace the streams of the process; call it once, before anything is written."""
    _open_closed()
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115 - it lives as long as the process
    sys.stdout = sys.__stdout__ = _replaced(sys.stdout, _Stdout)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _replaced(sys.stderr, _Stderr)  # type: ignore[misc]


@contextlib.contextmanager
def without_descriptor(stdout: Any) -> Iterator[Any]:
    """Yield a stream to where ``stdout`` leads, while file descriptor 1, which C code writes to, leads to stderr."""
    try:
        usual = stdout.fileno() == 1
        os.fstat(2)
    except (AttributeError, OSError, ValueError):
        usual = False
    if not usual:  # the output is captured, e.g. by a test
        yield stdout
        return
    stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    results = _Stdout(open(kept, "wb", closefd=False), stdout.encoding, stdout.errors)  # noqa: SIM115 - closed below
    try:
        yield results
        results.flush()
    finally:
        _flush_c()  # text that C code has not written yet must not follow the results
        os.dup2(kept, 1)
        with contextlib.suppress(Exception):
            results.close()
        os.close(kept)


def _flush_c() -> None:
    """Write what C's buffers of all streams hold."""
    import ctypes

    with contextlib.suppress(Exception):
        ctypes.CDLL("ucrtbase" if os.name == "nt" else None).fflush(None)


def finish(code: int) -> int:
    """Flush the streams.

    Args:
        code: exit code so far.

    Returns:
        The exit code: 2 instead of 0 if the output could not be written.
    """
    try:
        sys.stdout.flush()
    except ReaderLeftError:
        _silence(1)
    except Exception as error:
        _silence(1)
        if code == 0:
            sys.stderr.write(f"avatarkit: {error}\n")
            code = 2
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    return code


def _open_closed() -> None:
    """Open streams that the caller closed.

    Otherwise the next file would get their number and libraries would write messages into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)


def _replaced(stream: Any, kind: type[io.TextIOWrapper]) -> Any:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    if type(stream) is not io.TextIOWrapper:  # the output is captured, e.g. by a test
        return stream
    encoding, lines, through = stream.encoding, stream.line_buffering, stream.write_through
    return kind(stream.detach(), encoding, "backslashreplace", None, lines, through)


def _silence(number: int) -> None:
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)


def _failure(error: OSError) -> Exception:
    if isinstance(error, BrokenPipeError):
        return ReaderLeftError(error.errno, error.strerror)
    from avatarkit.errors import StoreError

    return StoreError(f"The output cannot be written to stdout: {error.strerror or error}. Write it to another file or disk.")
