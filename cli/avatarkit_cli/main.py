"""The command ``avatarkit``: exit codes, and which module holds which command.

0 fine; 2 the user can mend it (a sentence, no traceback); 130 interrupted; 1 a bug (traceback).
"""

from __future__ import annotations

import sys
import traceback
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from avatarkit import __version__
from avatarkit.errors import AvatarkitError
from avatarkit_cli import animate, build, doctor, info, motions, plugins, render, track, weights
from avatarkit_cli.shared import tell

__all__ = ["app", "main"]

_ISSUES = "https://github.com/avatarkit/avatarkit/issues"


class _Commands(TyperGroup):
    """Turns exceptions into exit codes, in one place for all commands."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except AvatarkitError as error:
            if error.exit_code != 2:
                traceback.print_exc()
            tell(f"avatarkit: {error}")
            if error.exit_code != 2:
                tell(_please_report())
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as interrupt:
            tell("avatarkit: interrupted. The same command goes on where it was.")
            raise typer.Exit(130) from interrupt
        except BrokenPipeError:  # the reader of our output left, e.g. `| head`
            sys.stdout = None
            raise typer.Exit(0) from None
        except Exception as error:
            if type(error).__module__.partition(".")[0] in ("typer", "click"):
                raise
            traceback.print_exc()
            tell(_please_report())
            raise typer.Exit(1) from error


def _please_report() -> str:
    python = ".".join(map(str, sys.version_info[:3]))
    return (
        f"This is a bug in avatarkit {__version__} (Python {python}). Please report it with the lines above: {_ISSUES}"
    )


app = typer.Typer(
    cls=_Commands,
    help="One photo in, an animatable, talking, gesturing 3D avatar out.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"avatarkit {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _start(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


app.command("build")(build.build)
app.command("animate")(animate.animate)
app.command("render")(render.render)
app.command("track")(track.track)
app.command("info")(info.info)
app.add_typer(motions.app, name="motions")
app.add_typer(plugins.app, name="plugins")
app.add_typer(weights.app, name="weights")
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Entry point."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of the libraries below us; people can do nothing about them
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
