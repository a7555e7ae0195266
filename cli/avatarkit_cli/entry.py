"""Where the command ``avatarkit`` begins: signals and streams first, then everything that takes time to import."""

import os
import sys

TYPE_CHECKING = False  # typing takes milliseconds, in which no signal is handled
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["main"]


def main() -> "NoReturn":
    """Run the command and end the process with its exit code."""
    try:
        from avatarkit_cli import interrupts

        interrupts.install()
    except KeyboardInterrupt:
        os.write(2, b"avatarkit: interrupted.\n")
        os._exit(130)
    try:
        from avatarkit_cli import streams

        streams.install()
        from avatarkit_cli.main import run

        code = streams.finish(run())
        interrupts.leave(code)
    except BaseException as error:
        if not (isinstance(error, KeyboardInterrupt) or interrupts.happened()):
            raise
        interrupts.leave(interrupts.EXIT_CODE)
        if sys.stderr is not None:
            sys.stderr.write(f"{interrupts.sentence(error)}\n")
        code = interrupts.EXIT_CODE
    if code == interrupts.EXIT_CODE:
        interrupts.end()
    raise SystemExit(code)
