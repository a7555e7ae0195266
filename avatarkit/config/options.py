"""Frozen dataclasses as the options of components: creation, checks and help.

A component's config is a frozen dataclass with a docstring line under each field; that line is the help. ``Range`` says
which values a number may have::

    steps: Annotated[int, Range(0, 1_000_000)] = 600

Fast to import.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import itertools
import math
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from avatarkit.errors import ConfigError
from avatarkit.utils.text import shortened

__all__ = [
    "SEEDS",
    "Formerly",
    "Machine",
    "Option",
    "Range",
    "did_you_mean",
    "field_help",
    "machine_options",
    "make_config",
    "options_of",
    "without_machine",
]

T = TypeVar("T")

_LARGEST = 2**63  # limit of integers without a range: tensors and files hold no more


@dataclass(frozen=True)
class Range:
    """Marks the allowed values of a number: ``Annotated[float, Range(0, 1)]``.

    Attributes:
        low: smallest value allowed.
        high: largest value allowed.
        unit: of the number, shown in help and messages: ``Range(0, 2, "m")``.
    """

    low: float
    high: float
    unit: str = ""

    def __str__(self) -> str:
        return f"{_plain(self.low)} to {_plain(self.high)} {self.unit}".rstrip()

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


SEEDS = Range(0, 2**32 - 1)
"""Seeds of builds: the range that every random generator accepts, with room to add step numbers."""


def _plain(number: float) -> str:
    """Format ``1000000`` without an exponent, but keep ``1e-12``."""
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else f"{number:g}"


class Machine:
    """Marks an option that concerns the machine and not the result: threads, devices, commands, folders.

    ::

        threads: Annotated[int, Machine] = 0

    These options are ignored in the recipe of an avatar from another person. Options that are a ``Path`` need no mark.
    """


@dataclass(frozen=True)
class Formerly:
    """Marks the former name of an option, which recipes may still use: ``Annotated[int, Formerly("old_name")]``."""

    name: str


@dataclass(frozen=True)
class Option:
    """One option of a config, for lists and help.

    Attributes:
        name: name of the field.
        type: readable, e.g. ``int`` or ``'mp4' | 'webm'``.
        default: readable; empty if the option is required.
        help: its docstring.
    """

    name: str
    type: str
    default: str
    help: str


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known word, or an empty text.

    The text begins with a space.
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def make_config(cls: type[T], values: Mapping[str, Any], *, owner: str = "", origins: Mapping[str, str] | None = None) -> T:
    """Create a frozen dataclass from plain values, e.g. from TOML.

    Args:
        cls: the dataclass. Its fields may be int, float, bool, str, Path, Literal, tuple, dict[str, ...], another
            dataclass, or one of these ``| None`` ("none" in a recipe). Numbers may have a ``Range``; they are always finite.
        values: field name -> value; missing fields take their default.
        owner: component that the options belong to, for messages: ``tracker 'exavatar'``.
        origins: field name -> where the value came from: ``--set tracker.iterations=x``.

    Raises:
        ConfigError: unknown or missing name, wrong type, or a value that the dataclass itself refuses.
    """
    owner = owner or cls.__name__
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]

    def source(name: str) -> str:
        origin = (origins or {}).get(name)
        return f" (from {origin})" if origin else ""

    former = {m.name: n for n, hint in hints.items() for m in getattr(hint, "__metadata__", ()) if isinstance(m, Formerly)}
    arguments: dict[str, Any] = {}
    for given, value in values.items():
        name = former.get(given, given)
        if name != given and name in values:
            raise ConfigError(f"{owner} gets {given!r} and {name!r}, which are one option{source(given)}. Leave out {given!r}.")
        if name not in fields:
            known = f"Its options: {', '.join(fields)}." if fields else "It has no options."
            raise ConfigError(f"{owner} has no option {_shown(name)}{source(name)}.{did_you_mean(name, fields)} {known}")
        try:
            arguments[name] = _convert(value, hints[name], f"{owner}.{name}")
        except _Mismatch as mismatch:
            raise ConfigError(
                f"Option {name!r} of {owner} must be {mismatch.expected}, not {_shown(mismatch.got)}{source(given)}."
            ) from None
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in arguments:
            raise ConfigError(f"{owner} needs the option {name!r} ({_type_text(hints[name])}).")
    try:
        return cls(**arguments)
    except (ValueError, TypeError, OverflowError) as error:
        origin = "".join(dict.fromkeys(source(name) for name in values))
        raise ConfigError(f"The options of {owner} do not fit{origin}: {error}") from error


def machine_options(cls: type) -> frozenset[str]:
    """Return the names of a config's options that concern the machine.

    See ``Machine``.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    return frozenset(f.name for f in dataclasses.fields(cls) if _concerns_machine(hints[f.name]))


def _concerns_machine(hint: Any) -> bool:
    marks = getattr(hint, "__metadata__", ())
    inner = [a for a in typing.get_args(hint) if a not in marks]
    return hint is Path or any(m is Machine or isinstance(m, Machine) for m in marks) or any(map(_concerns_machine, inner))


def without_machine(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values for ``make_config`` without the options that concern the machine.

    Nested tables are filtered too.
    """
    hints, own = typing.get_type_hints(cls), machine_options(cls)
    kept = {name: value for name, value in values.items() if name not in own}
    for name, value in kept.items():
        for inner in (hints.get(name), *typing.get_args(hints.get(name))):
            if dataclasses.is_dataclass(inner) and isinstance(inner, type) and isinstance(value, Mapping):
                kept[name] = without_machine(inner, value)
    return kept


class _Mismatch(Exception):
    def __init__(self, expected: str, got: Any) -> None:
        super().__init__(expected)
        self.expected, self.got = expected, got


def _shown(value: Any) -> str:
    """Return a value for a message; long texts and very large numbers are shortened."""
    if isinstance(value, int) and abs(value) > 10**40:
        return f"a number of more than {40 if value.bit_length() > 14_000 else len(str(abs(value))) - 1} digits"
    return shortened(repr(value))


def _convert(value: Any, hint: Any, owner: str) -> Any:
    """Convert ``value`` to the type ``hint``, or raise ``_Mismatch``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:
        return _convert_annotated(value, hint, arguments, owner)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, hint, arguments, owner)
    if origin is typing.Literal:
        if value in arguments and type(value) in {type(a) for a in arguments}:
            return value
    elif hint is bool or hint is str:
        if isinstance(value, hint):
            return value
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            if abs(value) <= _LARGEST:
                return value
            raise _Mismatch("a whole number of at most 64 bits", value)
    elif hint is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if abs(value) <= _LARGEST or (isinstance(value, float) and math.isfinite(value)):
                return float(value)
            raise _Mismatch("a finite number", value)
    elif hint is Path:
        if isinstance(value, (str, Path)):
            return Path(value)
    elif hint is tuple or origin is tuple:
        return _convert_tuple(value, hint, arguments, owner)
    elif hint is dict or origin in (dict, Mapping):
        if isinstance(value, Mapping):
            inner = arguments[1] if arguments else Any
            return {str(k): _convert(v, inner, owner) for k, v in value.items()}
    elif dataclasses.is_dataclass(hint):
        if isinstance(value, hint):  # type: ignore[arg-type]
            return value
        if isinstance(value, Mapping):
            return make_config(hint, value, owner=owner)  # type: ignore[arg-type]
    elif isinstance(hint, type) and isinstance(value, hint):
        return value
    raise _Mismatch(_type_text(hint), value)


def _convert_annotated(value: Any, hint: Any, arguments: tuple[Any, ...], owner: str) -> Any:
    """Convert to the annotated type, then check the range."""
    allowed = next((a for a in arguments[1:] if isinstance(a, Range)), None)
    if allowed is None:
        return _convert(value, arguments[0], owner)
    try:
        converted = _convert(value, arguments[0], owner)
    except _Mismatch:
        raise _Mismatch(_type_text(hint), value) from None
    if converted is not None and converted not in allowed:
        raise _Mismatch(str(allowed), value)
    return converted


def _convert_union(value: Any, hint: Any, members: tuple[Any, ...], owner: str) -> Any:
    if type(None) in members and (value is None or value == "none"):
        return None
    for member in members:
        if member is not type(None):
            try:
                return _convert(value, member, owner)
            except _Mismatch:
                continue
    raise _Mismatch(_type_text(hint), value)


def _convert_tuple(value: Any, hint: Any, members: tuple[Any, ...], owner: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise _Mismatch(_type_text(hint), value)
    if len(members) == 2 and members[1] is Ellipsis:
        members = (members[0],) * len(value)
    elif not members:
        members = (Any,) * len(value)
    if len(members) != len(value):
        raise _Mismatch(_type_text(hint), value)
    try:
        return tuple(_convert(v, m, owner) for v, m in zip(value, members, strict=True))
    except _Mismatch:
        raise _Mismatch(_type_text(hint), value) from None


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}


def _type_text(hint: Any) -> str:
    """Return the readable name of a type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return ", ".join([_type_text(arguments[0]), *(str(a) for a in arguments[1:] if isinstance(a, Range))])
    if hint in _WORDS:
        return _WORDS[hint]
    if hint is type(None):
        return "none"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_text(a) for a in arguments)
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(a) for a in arguments)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return f"a list [{_type_text(arguments[0])}, ...]"
    if origin is tuple:
        return "a list [" + ", ".join(_type_text(a) for a in arguments) + "]"
    if hint is dict or origin in (dict, Mapping) or dataclasses.is_dataclass(hint):
        return "a table"
    return getattr(hint, "__name__", str(hint))


def options_of(cls: type) -> tuple[Option, ...]:
    """Return the options of a config class, in order, with their help."""
    hints, texts = typing.get_type_hints(cls, include_extras=True), field_help(cls)
    options = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        if field.default is not dataclasses.MISSING:
            default = _value_text(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            default = _value_text(field.default_factory())
        else:
            default = ""
        options.append(Option(field.name, _type_text(hints[field.name]), default, texts.get(field.name, "")))
    return tuple(options)


def _value_text(value: Any) -> str:
    """Format a value as in a recipe."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "none"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_value_text(v) for v in value) + "]"
    return str(value)


def field_help(cls: type) -> dict[str, str]:
    """Return field name -> the docstring under the field, on one line.

    Fields without a docstring are left out.
    """
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):  # no source available, e.g. defined in an interpreter
            continue
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for statement, following in itertools.pairwise(body):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
                and isinstance(following.value.value, str)
            ):
                texts[statement.target.id] = " ".join(following.value.value.split())
    return texts
