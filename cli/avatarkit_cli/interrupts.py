"""Signals that ask the program to stop: each one raises ``KeyboardInterrupt`` once, so that all work is cleaned up.

The entry point installs this before anything else. It imports only what is built into Python, not even ``__future__``: until
it is there, an interruption would show Python's own traceback.
"""

import _signal as signal  # type: ignore[import-not-found]  # signal itself brings enums, and re with them
import _thread
import atexit
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

__all__ = ["EXIT_CODE", "check", "end", "happened", "install", "leave", "sentence"]

EXIT_CODE = 130
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
_AGAIN_SECONDS = 2.0  # a signal this soon after the first is the same wish; a later one also stops the clean-up
_EXIT_SECONDS = 5.0  # threads of libraries may take so long to end after an interruption


class _State:
    """What has come so far."""

    number = 0
    at: "float | None" = None
    leaving: "int | None" = None
    main = 0


def install() -> None:
    """Let signals raise ``KeyboardInterrupt``, except those that were ignored when the program started (nohup)."""
    _State.main = _thread.get_ident()
    for name in _NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            try:
                signal.signal(number, _handle)
            except ValueError:  # not the main thread: signals stay as the caller wants them
                return
    sys.unraisablehook = _unraisable


def happened() -> bool:
    """Return whether a signal asked the program to stop."""
    return _State.number != 0


def check() -> None:
    """Raise the interruption again if a library has swallowed it.

    Raises:
        KeyboardInterrupt: a signal came earlier and the program still runs.
    """
    if _State.number and _State.leaving is None:
        raise KeyboardInterrupt


def sentence(error: BaseException) -> str:
    """Return the message for the user; a ``KeyboardInterrupt`` may carry its own."""
    words = str(error) if isinstance(error, KeyboardInterrupt) else ""
    return f"avatarkit: interrupted. {words or 'Run the same command again to continue.'}"


def leave(code: int) -> None:
    """Finish the work: from now on a signal ends the process at once.

    After an interruption, no thread keeps the process alive.

    Args:
        code: exit code of the process.
    """
    _State.leaving = code
    if _State.number:
        if "threading" in sys.modules:
            import threading

            threading.excepthook = lambda args: None
        _thread.start_new_thread(_end_soon, (code,))


def end() -> "NoReturn":
    """End the process after an interruption.

    Python itself would end it by SIGINT where the interruption once passed through ``exec``, whatever the exit code is.
    """
    leave(EXIT_CODE)
    try:
        atexit._run_exitfuncs()
        sys.stderr.flush()
    finally:
        os._exit(EXIT_CODE)


def _handle(number: int, frame: "Any") -> None:
    if _State.leaving is not None:
        os._exit(_State.leaving)
    now = time.monotonic()
    if _State.at is not None and now - _State.at < _AGAIN_SECONDS:
        return
    _State.number, _State.at = number, now
    raise KeyboardInterrupt


def _unraisable(unraisable: "Any") -> None:
    """Raise an interruption that was lost in a finalizer again in the main thread."""
    if not _State.number:
        sys.__unraisablehook__(unraisable)
    elif unraisable.exc_type is KeyboardInterrupt and _State.leaving is None:
        _thread.start_new_thread(_raise_again, ())


def _raise_again() -> None:
    time.sleep(0.02)
    _State.at = None
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(_State.main, _State.number)  # wakes the main thread where it waits
    else:
        _thread.interrupt_main(_State.number)  # type: ignore[arg-type]


def _end_soon(code: int) -> None:
    time.sleep(_EXIT_SECONDS)
    os._exit(code)
