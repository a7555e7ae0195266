"""The command ``avatarkit``: exit codes, and which module holds which command.

0 fine; 2 the user can mend it (a sentence, no traceback); 130 interrupted; 1 a bug (traceback).
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from enum import StrEnum
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from avatarkit import __version__
from avatarkit.errors import AvatarkitError
from avatarkit_cli import animate, build, doctor, evaluate, export, info, motions, plugins, render, track, view, weights
from avatarkit_cli.shared import load_registry, tell

__all__ = ["app", "main"]

_ISSUES = "https://github.com/avatarkit-oneshot/avatarkit-oneshot/issues"
_COMPLETE = "_AVATARKIT_COMPLETE"
"""The variable in which a shell asks for completions."""


class _Commands(TyperGroup):
    """Turns exceptions into exit codes, in one place for all commands."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of our output left, e.g. `| head`
            sys.stdout = None
            raise typer.Exit(0) from None
        except (Exception, KeyboardInterrupt) as error:
            if type(error).__module__.partition(".")[0] == "typer":
                raise
            raise typer.Exit(_explain(error)) from error


def _explain(error: BaseException) -> int:
    """Tells the user on stderr what happened; returns the exit code."""
    if isinstance(error, KeyboardInterrupt):
        tell("avatarkit: interrupted. The same command goes on where it was.")
        return 130
    code = error.exit_code if isinstance(error, AvatarkitError) else 1
    if code != 2:
        traceback.print_exception(error)
    if isinstance(error, AvatarkitError):
        tell(f"avatarkit: {error}")
    if code != 2:
        tell(_please_report(getattr(error, "plugin", None)))
    return code


def _please_report(plugin: str | None) -> str:
    python = ".".join(map(str, sys.version_info[:3]))
    if plugin:
        return f"This is a bug in the plugin {plugin}, not in avatarkit {__version__}: its makers need the lines above."
    return f"This is a bug in avatarkit {__version__} (Python {python}). Please report it with the lines above: {_ISSUES}"


app = typer.Typer(
    cls=_Commands,
    help="One photo in, an animatable, talking, gesturing 3D avatar out.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,  # typer's options guess the shell and edit its start-up files; --show-completion only prints
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"avatarkit {__version__}")
        raise typer.Exit


class _Shell(StrEnum):
    bash = "bash"
    zsh = "zsh"
    fish = "fish"
    powershell = "powershell"


def _show_completion(shell: _Shell | None) -> None:
    if shell:
        from typer.completion import get_completion_script

        typer.echo(get_completion_script(prog_name="avatarkit", complete_var=_COMPLETE, shell=shell.value))
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _start(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)] = False,
    show_completion: Annotated[
        _Shell | None,
        typer.Option(help="Print the script that makes a shell complete commands.", is_eager=True, callback=_show_completion),
    ] = None,
) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


_COMMANDS: dict[str, Any] = {
    "build": build.build,
    "animate": animate.animate,
    "render": render.render,
    "view": view.view,
    "export": export.export,
    "track": track.track,
    "evaluate": evaluate.evaluate,
    "info": info.info,
    "motions": motions.app,
    "plugins": plugins.app,
    "weights": weights.app,
    "doctor": doctor.doctor,
}

for _name, _command in _COMMANDS.items():
    if isinstance(_command, typer.Typer):
        app.add_typer(_command, name=_name)
    else:
        app.command(_name)(_command)


def main() -> None:
    """Entry point."""
    # Threads of torch that spin while they wait take the cores that our rasterisers need; set before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of the libraries below us; people can do nothing about them
    if os.environ.get(_COMPLETE):
        from typer.completion import completion_init

        completion_init()
    try:
        command = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
        if command not in _COMMANDS:  # one of a plugin's, or help
            load_registry().register_commands(app)
        app()
    except (Exception, KeyboardInterrupt) as error:
        raise SystemExit(_explain(error)) from None


if __name__ == "__main__":
    main()
