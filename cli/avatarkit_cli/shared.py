"""Options, registry access and output that several commands share. Fast to import."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarkit.utils.text import json_safe, one_line, printable, shortened
from avatarkit_cli import interrupts

if TYPE_CHECKING:
    import logging

    from avatarkit.animation import LoadedAvatar
    from avatarkit.components import Components
    from avatarkit.interfaces import Context
    from avatarkit.motion.files import MotionInfo
    from avatarkit.registry import Plugin, Registry
    from avatarkit.types.body import BodyParams, Motion

__all__ = [
    "Anyway",
    "Device",
    "JointMap",
    "JsonFlag",
    "Mark",
    "NoSign",
    "PluginFiles",
    "Seed",
    "Sign",
    "Size",
    "SpeechSettings",
    "Up",
    "blame",
    "confirm",
    "find_motion",
    "find_pose",
    "load_registry",
    "named_files",
    "only_results",
    "parse_options",
    "parse_size",
    "print_json",
    "quiet_log",
    "say",
    "size_text",
    "table",
    "tell",
    "verbose",
]

_LONGEST_SECONDS = 1e6  # longest motion

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and everything else on stderr.")]
Device = Annotated[str, typer.Option(help="Device to use: auto, cpu or cuda.", metavar="auto|cpu|cuda")]
Size = Annotated[str | None, typer.Option(help="Picture size in pixels, e.g. 512x768. [default: as in the photo]", metavar="WxH")]
SpeechSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="An option of the driver, speech.gestures=0.5; for talk also of the engine, synthesizer.pitch=60. May be repeated.",
        metavar="KIND.OPTION=VALUE",
    ),
]
Seed = Annotated[int, typer.Option(help="Random seed; the same seed gives the same result.", min=0, max=2**32 - 1)]
Up = Annotated[
    str | None,
    typer.Option(help="Axis that is up in the motion file. [default: found]", metavar="x|y|z|-x|-y|-z"),
]
JointMap = Annotated[
    Path | None,
    typer.Option(help='For a motion file with unknown joints, JSON: {"left_elbow": "ITS_NAME", ...}.', metavar="FILE.json"),
]
PluginFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        "-p",
        help="A Python file with plugin hooks, or no:NAME to leave a plugin out. May be repeated.",
        metavar="FILE.py|no:NAME",
    ),
]

Sign = Annotated[
    str | None,
    typer.Option(help="Sign with this key and certificate (PEM files). [default: a key of yours]", metavar="KEY,CERT"),
]
NoSign = Annotated[bool, typer.Option("--no-sign", help="Write it without a signature that says that it is synthetic.")]
Mark = Annotated[str | None, typer.Option(help="Write this text into the lower left corner, e.g. synthetic.", metavar="TEXT")]
Anyway = Annotated[bool, typer.Option("--anyway", help="Go beyond the scope or the end of the person's consent.")]


def say(text: str) -> None:
    """Print one line of the result on stdout, without terminal control characters."""
    _write(printable(text))


def tell(text: str) -> None:
    """Print one line for the user on stderr, without terminal control characters."""
    sys.stderr.write(f"{printable(text)}\n")


def _write(text: str) -> None:
    (_results[-1] if _results else sys.stdout).write(f"{text}\n")


_results: list[Any] = []
"""The stream of the results, while stdout is kept free for them."""


@contextlib.contextmanager
def only_results() -> Iterator[None]:
    """Keep stdout for results: whatever libraries, plugins, their C code and their child processes print goes to stderr."""
    from avatarkit_cli.streams import without_descriptor

    with without_descriptor(sys.stdout) as results, contextlib.redirect_stdout(sys.stderr):
        _results.append(results)
        try:
            yield
        finally:
            _results.pop()


def verbose(yes: bool) -> None:
    """Send the log to stderr: warnings, or with ``yes`` everything."""
    import logging

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_printable_log())
    logging.basicConfig(level=logging.INFO if yes else logging.WARNING, handlers=[handler])
    logging.getLogger("avatarkit").setLevel(logging.DEBUG if yes else logging.WARNING)


def quiet_log() -> None:
    """Let warnings of commands without ``verbose`` reach stderr as printable text."""
    import logging

    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_printable_log())


def _printable_log() -> logging.Formatter:
    import logging

    class Printable(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return printable(super().format(record))

    return Printable("%(message)s")


def print_json(data: Any) -> None:
    """Print the one JSON object of a command; valid on terminals of any encoding."""
    encoding = getattr(_results[-1] if _results else sys.stdout, "encoding", None) or "utf-8"
    unicode = encoding.lower().replace("-", "").startswith("utf")
    _write(json_safe(json.dumps(data, indent=2, ensure_ascii=not unicode)))


def size_text(size: int) -> str:
    """Format bytes for people: ``3.0 GB``."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout that fits the terminal, or 80 columns without one.

    The last column wraps.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in headings[:-1]:
        grid.add_column(Text(one_line(heading)), no_wrap=True)
    grid.add_column(Text(one_line(headings[-1])), overflow="fold", ratio=1)
    for row in rows:
        grid.add_row(*(Text(one_line(cell)) for cell in row))
    console = Console(highlight=False)
    with console.capture() as captured:  # rich would exit with 1 if the reader closed the pipe
        console.print(grid)
    _write(captured.get().removesuffix("\n"))


_loaded: list[Registry] = []


def blame(error: BaseException) -> tuple[Plugin, str] | None:
    """Return the plugin whose code raised an error, and the place in it; None for avatarkit's own code."""
    return _loaded[0].blame(error) if _loaded else None


def load_registry(
    files: Sequence[Path] | None = None, sign: str | None = None, no_sign: bool = False, anyway: bool = False
) -> Registry:
    """Return all plugins, and those in ``files``, with what the user said about signing and consent.

    Commands print the problems that concern them on stderr.

    Raises:
        ConfigError: two options contradict each other.
    """
    import tomllib
    from importlib import resources

    from avatarkit.errors import ConfigError
    from avatarkit.registry import Registry

    quiet_log()
    text = resources.files("avatarkit_cli").joinpath("known.toml").read_text(encoding="utf-8")
    known = {(kind, name): hint for kind, names in tomllib.loads(text).items() for name, hint in names.items()}
    if no_sign and sign:
        raise ConfigError("--sign and --no-sign contradict each other. Leave one out.")
    registry = Registry.load(files or (), known=known)
    given = {"sign": "no" if no_sign else sign, "anyway": "yes" if anyway else None}
    registry.policy.update({name: text for name, text in given.items() if text})
    _loaded[:] = [registry]
    interrupts.check()  # a plugin's import may have swallowed the interruption
    return registry


def confirm(question: str, yes: bool, refused: str, how: str) -> None:
    """Ask the user on stderr.

    Args:
        question: to answer with yes or no.
        yes: whether it was answered by an option.
        refused: what happened if they refuse.
        how: what to do where no one can answer a question.

    Raises:
        ConfigError: they refused, or cannot be asked.
    """
    from avatarkit.errors import ConfigError

    if yes:
        return
    if sys.stdin is None or sys.stdin.closed or not sys.stdin.isatty():
        raise ConfigError(f"{refused} {how}")
    try:
        accepted = typer.confirm(question, err=True)
    except typer.Abort:  # the end of input
        accepted = False
    if not accepted:
        raise ConfigError(refused)


def named_files(*names: str | None) -> list[Path]:
    """Return the files named by options of the form NAME|FILE and NAME@SECONDS."""
    return [Path(text) for name in names if name for text in {name, name.rpartition("@")[0]} if os.path.isfile(text)]


def find_motion(
    name: str, components: Components | Context, up: str | None = None, joint_map: Path | None = None
) -> tuple[Motion, MotionInfo | None]:
    """Return a motion by the user's name for it, and what was understood of it if it is a file.

    Args:
        name: a built-in motion, or a motion file.
        components: components whose motions and body model are used.
        up: see ``read_motion``.
        joint_map: file of ``read_joint_map``.

    Raises:
        InputError: there is no such motion, or the file cannot be used.
        ConfigError: an option for files is given with a built-in motion.
    """
    from avatarkit.errors import ConfigError, InputError
    from avatarkit.motion.files import inspect_motion, read_joint_map

    source = components.get("motions")
    if not name or "\0" in name:
        raise InputError("The motion is empty: name a built-in motion or a motion file.")
    if name in source.names() or not (Path(name).suffix or os.path.exists(name)):
        if up is not None or joint_map is not None:
            raise ConfigError(f"--up and --joint-map are for motion files, and {name!r} is a built-in motion.")
        return source.motion(name), None
    joints = None if joint_map is None else read_joint_map(joint_map)
    motion, info = inspect_motion(Path(name), components.get("body"), up=up, joint_map=joints)
    for note in info.notes:
        tell(f"Note: {note}")
    return motion, info


def find_pose(text: str, avatar: LoadedAvatar) -> BodyParams:
    """Return the world pose of ``MOTION@SECONDS``: one frame, played by the avatar.

    Raises:
        InputError: there is no such motion, or the text after @ is not a number.
    """
    from avatarkit.animation import place
    from avatarkit.errors import InputError

    name, at, seconds = (text, "", "") if os.path.isfile(text) else text.rpartition("@")
    if not at:
        name, seconds = text, ""
    try:
        time = float(seconds or 0.0)
        if not -_LONGEST_SECONDS <= time <= _LONGEST_SECONDS:
            raise ValueError
    except ValueError:
        raise InputError(f"--pose {text!r}: the part after @ must be a number of seconds, e.g. wave@1.5.") from None
    motion, _ = find_motion(name, avatar.components)
    frame = min(max(0, round(time * motion.fps)), len(motion) - 1)
    return place(motion, avatar.photo_params, avatar.body)[frame]


def parse_options(texts: Sequence[str], owner: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Parse ``OPTION=VALUE`` texts of one component.

    Returns:
        The options, and where each came from; values are TOML or bare words.

    Raises:
        ConfigError: a text is not of that form.
    """
    from avatarkit.errors import ConfigError
    from avatarkit.utils.plain import BadText, parse_value

    options: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ConfigError(f"--set {text!r} is not of the form OPTION=VALUE of {owner}, e.g. texture=2048.")
        try:
            options[name] = parse_value(value)
        except BadText as error:
            raise ConfigError(f"--set {name}: {error}.") from error
        origins[name] = f"--set {shortened(text)}"
    return options, origins


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Parse ``512x768`` to (512, 768); None stays None.

    Raises:
        ConfigError: any other text.
    """
    from avatarkit.errors import ConfigError

    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    pixels = [int(side) if side.isdecimal() and len(side) <= 4 else 0 for side in (width, height)]
    if not all(16 <= side <= 8192 for side in pixels):
        raise ConfigError(f"--size {text!r} is not of the form WIDTHxHEIGHT with 16 to 8192 pixels, e.g. 512x768.")
    return pixels[0], pixels[1]
