"""The command ``avatarkit``: exit codes, and the module of each command.

0 success; 2 an error that the user can fix (one sentence, no traceback); 3 some photos of a batch failed; 130 interrupted;
1 a bug (traceback).
"""

from __future__ import annotations

if __name__ == "__main__":  # python -m avatarkit_cli.main: signals come first, and the rest of this file is imported by it
    from avatarkit_cli.entry import main

    main()

import errno
import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from avatarkit import __version__
from avatarkit.errors import AvatarkitError
from avatarkit_cli import interrupts
from avatarkit_cli.batch.command import batch
from avatarkit_cli.checks import Checked
from avatarkit_cli.commands import (
    animate,
    build,
    doctor,
    evaluate,
    export,
    info,
    motions,
    plugins,
    render,
    talk,
    track,
    view,
    weights,
)
from avatarkit_cli.plugin_commands import OWN_COMMANDS, add_commands
from avatarkit_cli.shared import blame, load_registry, tell
from avatarkit_cli.streams import ReaderLeftError
from avatarkit_cli.studio.command import studio
from avatarkit_cli.trust import clean, licenses

__all__ = ["app", "run"]

_FAULTS = {
    errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ELOOP, errno.EMFILE, errno.ENAMETOOLONG, errno.ENFILE, errno.ENOSPC,
    errno.ENOTDIR, errno.EPERM, errno.EROFS, errno.ESTALE,
}  # fmt: skip
"""Operating-system errors that no change to the program can fix."""
_ISSUES = "https://github.com/avatarkit-oneshot/avatarkit-oneshot/issues"
_COMPLETE = "_AVATARKIT_COMPLETE"
"""Environment variable with which a shell requests completions."""


_UsageError: Any = typer.BadParameter.__mro__[2]  # ClickException, of click or of the copy of it that typer ships


class _Commands(TyperGroup):
    """Turns exceptions into exit codes, in one place for all commands."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _explained():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        with _explained():
            return super().invoke(ctx)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except typer.Exit:
        raise
    except (Exception, KeyboardInterrupt) as error:
        raise typer.Exit(_explain(error)) from error


def _explain(error: BaseException) -> int:
    """Print on stderr what happened and return the exit code."""
    if isinstance(error, KeyboardInterrupt) or interrupts.happened():
        tell(interrupts.sentence(error))
        return interrupts.EXIT_CODE
    if isinstance(error, ReaderLeftError):
        return 0
    if isinstance(error, _UsageError):
        shown = io.StringIO()
        error.show(shown)
        tell(shown.getvalue().rstrip("\n"))
        return int(error.exit_code)
    if isinstance(error, typer.Abort):
        tell("avatarkit: no answer was given; nothing was changed.")
        return 2
    if sentence := _of_the_machine(error):
        tell(f"avatarkit: {sentence}")
        return 2
    code = error.exit_code if isinstance(error, AvatarkitError) else 1
    if code != 2:
        import traceback

        tell("".join(traceback.format_exception(error)).rstrip("\n"))
    if isinstance(error, AvatarkitError):
        tell(f"avatarkit: {error}")
    if code != 2:
        tell(_please_report(error))
    return code


def _of_the_machine(error: BaseException) -> str:
    """Return the message for an error of the machine or its disk, wherever it arises; empty for all others."""
    if _is_memory(error) or (isinstance(error, AvatarkitError) and _is_memory(error.__cause__)):  # a stage names its cause
        return "Not enough memory. Close other programs, or choose a smaller size or preset."
    if isinstance(error, OSError):
        from avatarkit.utils.files import disk_sentence

        if error.errno in _FAULTS:
            path = error.filename if isinstance(error.filename, (str, bytes)) else "a file"
            return disk_sentence(Path(os.fsdecode(path)), error.errno, error)
        if error.errno == errno.ENOENT and "temporary directory" in str(error.strerror):  # of the module tempfile
            return "No folder for temporary files can be written; free some space, or set TMPDIR to a folder that can."
        try:
            os.getcwd()
        except OSError:
            return "The current folder no longer exists. Change to another one."
    return ""


def _is_memory(error: BaseException | None) -> bool:
    """Whether there was not enough memory; torch says so with an error of no type of its own."""
    words = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(w in str(error) for w in words))


def _please_report(error: BaseException) -> str:
    python = ".".join(map(str, sys.version_info[:3]))
    if found := blame(error):
        plugin, place = found
        if plugin.local:
            return f"The error is in the plugin {plugin.name!r}: {place or plugin.distribution}."
        owner = repr(plugin.name)
        if plugin.distribution:
            owner = f"{owner} of {plugin.distribution} {plugin.version}".rstrip()
        contact = f": {plugin.contact}" if plugin.contact else "."
        return (
            f"This is a bug in the plugin {owner}{f' ({place})' if place else ''}, not in avatarkit {__version__}. "
            f"Please report it to its authors with the lines above{contact}"
        )
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
        typer.Option(help="Print the completion script for a shell.", is_eager=True, callback=_show_completion),
    ] = None,
) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


_COMMANDS: dict[str, Any] = {
    "build": build.build,
    "batch": batch,
    "animate": animate.animate,
    "talk": talk.talk,
    "render": render.render,
    "view": view.view,
    "studio": studio,
    "export": export.export,
    "track": track.track,
    "evaluate": evaluate.evaluate,
    "info": info.info,
    "licenses": licenses.licenses,
    "clean": clean.clean,
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


for _group in (app, motions.app, plugins.app, weights.app):
    for _info in _group.registered_commands:
        _info.cls = Checked


def _without_plugins(words: list[str]) -> tuple[list[str], list[Path]]:
    """Return a command line without ``--plugin FILE``, which commands of plugins do not know, and the files."""
    rest: list[str] = []
    files: list[Path] = []
    given = iter(words)
    for word in given:
        name, equals, value = word.partition("=")
        if word == "--":
            return [*rest, word, *given], files
        if name in ("--plugin", "-p"):
            files.append(Path(value if equals else next(given, "")))
        else:
            rest.append(word)
    return rest, files


def run() -> int:
    """Run the command line and return the exit code."""
    # Threads of torch that spin while they wait take the cores that our rasterizers need; set before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # warnings of libraries, which the user cannot fix
    if os.environ.get(_COMPLETE):
        from typer.completion import completion_init

        completion_init()
    try:
        rest, plugins = _without_plugins(sys.argv[1:])
        command = next((word for word in rest if not word.startswith("-")), None)
        if command not in OWN_COMMANDS:  # a plugin's command, or help
            registry = load_registry(plugins)
            add_commands(registry, app)
            for problem in registry.problems if command else ():
                tell(f"Note: plugin {problem.owner}: {problem}")
            sys.argv[1:] = rest
        elif command != sys.argv[1]:  # flags for plugins came first
            sys.argv[1:] = [*rest, *(word for file in plugins for word in ("--plugin", str(file)))]
        app()
    except SystemExit as end:
        if isinstance(end.code, str):
            tell(end.code)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except (Exception, KeyboardInterrupt) as error:
        return _explain(error)
    return 0
