"""The manifest of an avatar as a declared schema. Avatars are shared, so any field may hold anything.

``fault`` compares plain values with the schema and says what is wrong in half a sentence. Unknown fields are kept: other versions
write fewer or more. msgspec starts four times faster than pydantic.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from avatarkit.config import SECTIONS, SLOTS
from avatarkit.utils.files import relative_name

__all__ = ["LONGEST_TEXT", "MOST_BYTES", "clean", "convert", "fault", "is_clean"]

MOST_BYTES = 4 << 20  # of manifest.json; one with the 140 clips of the preset paper has 0.1 MB
LONGEST_TEXT = 20_000  # characters
_MOST_ENTRIES = 10_000  # of a table or list

# Terminals obey control characters, and text between marks of direction can look like other text. Line feeds and tabs are fine.
_UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

Text = Annotated[str, Meta(max_length=LONGEST_TEXT, description=f"text of at most {LONGEST_TEXT} characters")]
Name = Annotated[str, Meta(max_length=200, pattern=r"^[^\n\t]*\Z", description="one line of at most 200 characters")]
FileName = Annotated[str, Meta(max_length=1024, description="the name of a file")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z", description="a sha256 of 64 hexadecimal digits")]
Amount = Annotated[float, Meta(ge=0, le=1e9, description="a number from 0 to 1e9")]
Day = Annotated[str, Meta(pattern=r"^(\d{4}-\d\d-\d\d)?\Z", description="a day such as 2027-12-31")]
Version = Annotated[int, Meta(ge=1, description="a whole number from 1")]
Table = Annotated[dict[Name, Any], Meta(max_length=_MOST_ENTRIES, description="a table")]


class _Part(Struct):
    name: Name
    version: Name = ""
    distribution: Name = ""


class _Stage(Struct):
    key: Sha256 = ""
    seconds: Amount = 0.0
    peak_memory_mb: Amount = 0.0
    reused: bool = False


class _Terms(Struct):
    code: Text = ""
    weights: Text = ""
    commercial: bool | None = None
    data: Text = ""
    source: Text = ""
    doubt: Text = ""


class _Consent(Struct):
    person: Name = ""
    scope: list[Name] = []
    given: Day = ""
    until: Day = ""
    evidence: Sha256 | None = None
    text: Text = ""


class _Revocation(Struct):
    date: Day = ""
    reason: Text = ""
    erased: bool = False


class _Slot(Struct):
    use: Name | None = None


_Recipe = msgspec.defstruct(
    "_Recipe",
    [
        ("name", Name, ""),
        *((slot, _Slot, msgspec.field(default_factory=_Slot)) for slot in SLOTS),
        *((section, Table, msgspec.field(default_factory=dict)) for section in SECTIONS),
        ("losses", dict[Name, _Slot], msgspec.field(default_factory=dict)),
    ],
)


class _Manifest(Struct):
    """What ``pipeline`` and ``bundle`` write."""

    format: Name
    format_version: Version
    avatarkit: Name = ""
    components: Annotated[dict[Name, _Part], Meta(max_length=_MOST_ENTRIES)] = {}
    recipe: _Recipe = msgspec.field(default_factory=_Recipe)  # type: ignore[valid-type]
    seed: int = 0
    device: Name = ""
    inputs: Annotated[dict[Name, Sha256], Meta(max_length=_MOST_ENTRIES)] = {}
    stages: Annotated[dict[Name, _Stage], Meta(max_length=_MOST_ENTRIES)] = {}
    metrics: Annotated[dict[Name, float | None], Meta(max_length=_MOST_ENTRIES)] = {}
    seen: Annotated[dict[Name, bool], Meta(max_length=_MOST_ENTRIES)] = {}
    warnings: Annotated[list[Text], Meta(max_length=_MOST_ENTRIES)] = []
    licenses: Annotated[dict[Name, _Terms], Meta(max_length=_MOST_ENTRIES)] = {}
    weights: Annotated[dict[Name, Sha256], Meta(max_length=_MOST_ENTRIES)] = {}
    consent: Text | None = None
    consent_record: _Consent | None = None
    purpose: Name = ""
    revoked: _Revocation | None = None
    labels: Annotated[dict[Name, Table], Meta(max_length=_MOST_ENTRIES)] = {}
    files: Annotated[dict[FileName, Sha256], Meta(max_length=_MOST_ENTRIES)] = {}


def fault(manifest: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a manifest as half a sentence that names the field; None if nothing is.

    Args:
        manifest: plain values, as ``plain.parse_json`` gives them.
    """
    hidden = _hidden(manifest)
    if hidden is not None:
        return f"its manifest {hidden}"
    found = _fault(manifest, _Manifest, ())
    if found is not None:
        return f"its manifest {found}"
    for name in manifest.get("files", {}):
        if relative_name(name) is None:
            return f"its manifest lists the file {_shown(name)}, which is not the name of a file inside it"
    return None


def convert(value: Any, schema: Any) -> Any:
    """Return plain values as ``schema``, a msgspec type.

    Raises:
        ValueError: they do not fit; the text is half a sentence that names the field.
    """
    try:
        return msgspec.convert(value, schema)
    except msgspec.ValidationError:
        raise ValueError(_fault(value, schema, ()) or "does not fit") from None


def is_clean(text: str) -> bool:
    """Return whether a text holds nothing but characters that can be shown, line feeds and tabs."""
    return _UNSHOWN.search(text) is None


def clean(text: str) -> str:
    """Return a text without the characters that ``fault`` refuses."""
    return _UNSHOWN.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _hidden(manifest: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the first text that cannot be shown or is too long, wherever it stands; half a sentence."""
    values: list[tuple[tuple[str, ...], Any]] = [((), manifest)]
    while values:
        path, value = values.pop()
        if isinstance(value, Mapping):
            for key, inner in value.items():
                if not is_clean(key):
                    return f"holds characters in {_path((*path, key))} that cannot be shown"
                values.append(((*path, key), inner))
        elif isinstance(value, list):
            values += ((path, inner) for inner in value)
        elif isinstance(value, str) and len(value) > LONGEST_TEXT:
            return f"says {_path(path)} = {_shown(value)}, text of at most {LONGEST_TEXT} characters is expected"
        elif isinstance(value, str) and not is_clean(value):
            return f"holds characters in {_path(path)} that cannot be shown"
    return None


def _fault(value: Any, hint: Any, path: tuple[str, ...]) -> str | None:
    """Where and how ``value`` differs from ``hint``, as a half sentence without its subject."""
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError:
        pass
    else:
        return None
    bare = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    origin, arguments = typing.get_origin(bare), typing.get_args(bare)
    found: str | None = None
    if origin in (typing.Union, types.UnionType):
        found = next((_fault(value, a, path) for a in arguments if a is not type(None) and isinstance(value, dict)), None)
    elif isinstance(bare, type) and issubclass(bare, Struct) and isinstance(value, Mapping):
        found = _fault_of_fields(value, bare, path)
    elif origin is dict and isinstance(value, Mapping):
        for key, inner in value.items():
            found = found or _fault(key, arguments[0], path) or _fault(inner, arguments[1], (*path, key))
    elif origin in (list, tuple) and isinstance(value, list):
        for number, inner in enumerate(value):
            found = found or _fault(inner, arguments[0], (*path, str(number)))
    return found or f"says {_path(path)} = {_shown(value)}, {_words(hint)} is expected"


def _fault_of_fields(value: Mapping[str, Any], schema: type[Struct], path: tuple[str, ...]) -> str | None:
    for field in msgspec.structs.fields(schema):
        if field.encode_name in value:
            found = _fault(value[field.encode_name], field.type, (*path, field.encode_name))
            if found is not None:
                return found
        elif field.required:
            return f"does not say {_path((*path, field.encode_name))}"
    return None


def _words(hint: Any) -> str:
    """Return what people call a type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        told = next((m.description for m in hint.__metadata__ if isinstance(m, Meta) and m.description), None)
        return told or _words(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(a) for a in arguments))
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    return words.get(hint) or ("a list" if origin in (list, tuple) else "a table")


def _path(path: tuple[str, ...]) -> str:
    """Return a field as people write it, within bounds."""
    return ".".join(p if p.isprintable() and 0 < len(p) <= 40 else _shown(p) for p in path[:6]) or "its top"


def _shown(value: Any) -> str:
    """Return a value within bounds and without characters that a terminal obeys."""
    if isinstance(value, (list, Mapping)):
        kind = "table" if isinstance(value, Mapping) else "list"
        return f"a {kind} of {len(value)} entries"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, str) and len(value) > 60:
        return f"{value[:50]!r}... ({len(value)} characters)"
    return repr(value)
