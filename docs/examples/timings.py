"""An observer and a command in one file: what each stage of a build took, on stderr; `avatarkit hello`."""

import sys

from avatarkit import hookimpl


@hookimpl
def stage_finished(stage, seconds):  # leave out the arguments that you do not need
    sys.stderr.write(f"{stage} took {seconds:.1f} s\n")


@hookimpl
def register_commands(cli):
    @cli.command("hello")
    def hello() -> None:
        """Say hello."""
        print("hello")
