"""Where the command ``avatarkit`` begins: signals and streams first, then everything that takes time to import."""

from __future__ import annotations

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Runs the command and ends the process with its exit code."""
    from avatarkit_cli import interrupts

    try:
        interrupts.install()
        from avatarkit_cli import streams

        streams.install()
        from avatarkit_cli.main import run

        code = streams.finish(run())
        interrupts.leave(code)
    except BaseException as error:
        if not (isinstance(error, KeyboardInterrupt) or interrupts.happened()):
            raise
        code = interrupts.EXIT_CODE
        interrupts.leave(code)
        if sys.stderr is not None:
            sys.stderr.write(f"{interrupts.sentence(error)}\n")
    raise SystemExit(code)
