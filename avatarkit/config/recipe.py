"""Recipes: which component fills each slot of the method, with which options.

A recipe is TOML with names only, never an import path::

    [tracker]
    use = "exavatar"
    iterations = 60

    [training]
    steps = 400

    [losses.rgb]
    use = "l1"
    weight = 0.8
    on = ["photo"]

Layers lie over each other: preset, then recipe file, then flags, then ``--set slot.option=value``. Naming another
component in a slot drops the options that lower layers gave to the old one. Light to import.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata, resources
from pathlib import Path
from typing import Annotated, Any, TypeVar

from avatarkit.config.aliases import renamed
from avatarkit.config.options import Range, did_you_mean, make_config
from avatarkit.config.sections import SECTIONS
from avatarkit.errors import ConfigError, InputError
from avatarkit.utils.plain import BadText, parse_toml, parse_value, read_text

__all__ = ["OPTIONAL_SLOTS", "SECTIONS", "SLOTS", "Choice", "LossChoice", "Recipe", "presets"]

T = TypeVar("T")

SLOTS: dict[str, str] = {
    "matting": "matting",
    "keypoints": "keypoints",
    "tracker": "tracker",
    "body": "body",
    "motions": "motions",
    "body_labels": "labels",
    "head_labels": "labels",
    "avatar": "avatar",
    "perceptual": "loss",
    "renderer": "renderer",
}
"""Slot of a recipe -> kind of component that fills it."""

OPTIONAL_SLOTS = frozenset({"body_labels", "head_labels", "perceptual"})
"""Slots that may say ``use = "none"``."""

_KINDS_OF_STEP = ("photo", "body", "head")
_MOST_BYTES = 1 << 20  # of a recipe
_Path = tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """What fills a slot.

    Attributes:
        slot: of the recipe. kind: of component.
        use: name of the component; None = nothing.
        options: of the component, as the recipe gives them.
        origins: option -> where its value came from.
        origin: where ``use`` came from.
    """

    slot: str
    kind: str
    use: str | None
    options: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""


@dataclass(frozen=True)
class LossChoice(Choice):
    """A term of the objective.

    Attributes:
        weight: factor. start: first step that it counts at. on: kinds of step (photo, body, head) that it counts on.
    """

    weight: float = 1.0
    start: int = 0
    on: tuple[str, ...] = _KINDS_OF_STEP

    @property
    def name(self) -> str:
        """What the recipe calls the term."""
        return self.slot.removeprefix("losses.")


@dataclass(frozen=True)
class _LossTable:
    weight: Annotated[float, Range(0, 1e9)]
    start: Annotated[int, Range(0, 10_000_000)] = 0
    on: tuple[str, ...] = _KINDS_OF_STEP

    def __post_init__(self) -> None:
        for kind in self.on:
            if kind not in _KINDS_OF_STEP:
                raise ValueError(f"on holds {kind!r}; it may hold {', '.join(_KINDS_OF_STEP)}")


@dataclass(frozen=True)
class Recipe:
    """A complete choice of components and numbers; make one with ``load`` or ``from_dict``.

    Attributes:
        name: of the preset or file that it comes from.
        slots: slot -> choice, for all of ``SLOTS``.
        losses: the terms whose weight is not zero.
        tables: everything as nested plain values, as in the file.
    """

    name: str
    slots: Mapping[str, Choice]
    losses: tuple[LossChoice, ...]
    tables: Mapping[str, Any]
    _origins: Mapping[_Path, str] = field(repr=False)

    @classmethod
    def load(
        cls,
        preset: str | None = None,
        file: Path | str | None = None,
        flags: Mapping[str, str | None] | None = None,
        settings: Iterable[str] = (),
    ) -> Recipe:
        """Lays the layers over each other and checks the whole.

        Args:
            preset: name of a recipe that an installed package ships.
            file: a TOML file; ``preset = "draft"`` at its top names the preset below it where ``preset`` does not. A bare
                ``NAME.toml`` that is not here means the preset of that name.
            flags: slot -> component name ("none" = nothing); None values are skipped.
            settings: ``slot.option=value`` texts; values are TOML, bare words are text.

        Raises:
            ConfigError: a file that cannot be read, an unknown slot, a missing component, a wrong value.
        """
        leaves: dict[_Path, tuple[Any, str]] = {}
        names = []
        preset, file = _shipped(preset, file)
        tables = {} if file is None else _parse(_read(Path(file)), str(file))
        base = tables.pop("preset", None)
        if base is not None and not isinstance(base, str):
            raise ConfigError(f'preset in {file} must be the name of a preset, e.g. preset = "draft".')
        preset = base if preset is None else preset
        if preset is not None:
            known = presets()
            if preset not in known:
                raise ConfigError(f"There is no preset {preset!r}.{did_you_mean(preset, known)} {_list(known)}")
            _lay(leaves, _parse(known[preset], f"preset {preset}"), f"preset {preset}")
            names.append(preset)
        if file is not None:
            _lay(leaves, tables, f"recipe {Path(file).name}")
            names.append(Path(file).stem)
        for slot, use in (flags or {}).items():
            if use is not None:
                _lay(leaves, {slot: {"use": use}}, f"--{slot.replace('_', '-')}")
        parsed = [(text, _parse_setting(text)) for text in settings]
        for text, tables in sorted(parsed, key=lambda p: not p[0].partition("=")[0].strip().endswith(".use")):
            _lay(leaves, tables, f"--set {text if len(text) <= 80 else text[:77] + '...'}")
        return cls._checked("+".join(names) or "custom", leaves)

    @classmethod
    def from_dict(cls, tables: Mapping[str, Any], origin: str = "manifest") -> Recipe:
        """The inverse of ``to_dict``."""
        leaves: dict[_Path, tuple[Any, str]] = {}
        tables = dict(tables)
        name = str(tables.pop("name", "custom"))
        _lay(leaves, tables, origin)
        return cls._checked(name, leaves)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a manifest: ``name`` and the tables of the TOML file."""
        return {"name": self.name, **self.tables}

    def check_sections(self) -> None:
        """Checks the options of the tables that are no slots.

        Raises:
            ConfigError: one is unknown or wrong.
        """
        for name in SECTIONS:
            if name in self.tables:
                self.resolved(name)

    def resolved(self, name: str) -> Any:
        """A table that is no slot, as the config class that ``SECTIONS`` names for it."""
        return self.section(name, SECTIONS[name])

    def section(self, name: str, cls: type[T]) -> T:
        """A table that is no slot (``training``, ``labels``, ``preview``) as its config class."""
        origins = {path[1]: origin for path, origin in self._origins.items() if path[0] == name and len(path) > 1}
        return make_config(cls, self.tables.get(name, {}), owner=f"[{name}]", origins=origins)

    @classmethod
    def _checked(cls, name: str, leaves: Mapping[_Path, tuple[Any, str]]) -> Recipe:
        known = (*SLOTS, *SECTIONS, "losses")
        for path, (_, origin) in leaves.items():
            if path[0] not in known or len(path) == 1:
                hint = did_you_mean(path[0], known) if path[0] not in known else " It is a table: write [name]."
                raise ConfigError(f"A recipe has no entry {path[0]!r} (from {origin}).{hint} {_list(known)}")
        tables = _unflatten({path: value for path, (value, _) in leaves.items()})
        origins = {path: origin for path, (_, origin) in leaves.items()}
        slots = {slot: _choice(slot, kind, tables.get(slot, {}), origins) for slot, kind in SLOTS.items()}
        return cls(name, slots, _losses(tables.get("losses", {}), slots, origins), tables, origins)


def _choice(slot: str, kind: str, table: Mapping[str, Any], origins: Mapping[_Path, str]) -> Choice:
    use = table.get("use", "none" if slot in OPTIONAL_SLOTS else None)
    origin = origins.get((slot, "use"), "")
    if use is None:
        raise ConfigError(
            f'The recipe names no component for the slot {slot!r}. Start from a preset (preset = "standard" at the '
            f'top of the file) or add [{slot}] use = "...".'
        )
    if not isinstance(use, str):
        raise ConfigError(f"'use' of [{slot}] must be the name of a component, not {use!r} (from {origin}).")
    if use == "none" and slot not in OPTIONAL_SLOTS:
        raise ConfigError(f"The slot {slot!r} cannot be left empty (from {origin}): nothing works without it.")
    options = {k: v for k, v in table.items() if k != "use"}
    sources = {path[1]: text for path, text in origins.items() if path[0] == slot and len(path) > 1}
    return Choice(slot, kind, None if use == "none" else use, options, sources, origin)


def _losses(tables: Mapping[str, Any], slots: Mapping[str, Choice], origins: Mapping[_Path, str]) -> tuple[LossChoice, ...]:
    """A term without ``use`` takes the component of the slot of its own name (``perceptual``)."""
    losses = []
    for name, table in tables.items():
        slot = f"losses.{name}"
        if not isinstance(table, Mapping):
            raise ConfigError(f"[{slot}] must be a table with use, weight, start and on, not {table!r}.")
        sources = {path[2]: text for path, text in origins.items() if path[:2] == ("losses", name) and len(path) > 2}
        terms = {k: v for k, v in table.items() if k in ("weight", "start", "on")}
        term = make_config(_LossTable, terms, owner=f"[{slot}]", origins=sources)
        options = {k: v for k, v in table.items() if k not in ("use", "weight", "start", "on")}
        use = table.get("use")
        if use is None and name in slots and slots[name].kind == "loss":
            use, options = slots[name].use, {**slots[name].options, **options}
            sources = {**slots[name].origins, **sources}
            if use is None:
                continue
        if not isinstance(use, str):
            raise ConfigError(f'[{slot}] does not say which loss it is: add use = "...".')
        if term.weight != 0:
            origin = sources.get("use", "")
            losses.append(LossChoice(slot, "loss", use, options, sources, origin, term.weight, term.start, term.on))
    return tuple(losses)


# --------------------------------------------------------------------------------------------------------------- layers


def _lay(leaves: dict[_Path, tuple[Any, str]], tables: Mapping[str, Any], origin: str) -> None:
    """Puts a layer on top, in place."""
    layer = {(renamed(path[0], origin), *path[1:]): value for path, value in _flatten(tables)}
    for path, value in layer.items():
        if path[-1] == "use" and path in leaves and leaves[path][0] != value:
            for old in [p for p in leaves if _is_option(p, path[:-1])]:
                del leaves[old]
    for path, value in layer.items():
        for old in [p for p in leaves if len(p) != len(path) and p[: len(path)] == path[: len(p)]]:
            del leaves[old]  # a table in place of a value, or the other way round
        leaves[path] = (value, origin)


def _is_option(path: _Path, slot: _Path) -> bool:
    """Whether ``path`` is an option of the component in ``slot`` (and not of the slot itself)."""
    own = ("weight", "start", "on") if slot[0] == "losses" else ()
    return path[: len(slot)] == slot and len(path) > len(slot) and path[len(slot)] not in own


def _flatten(tables: Mapping[str, Any], above: _Path = ()) -> Iterable[tuple[_Path, Any]]:
    for key, value in tables.items():
        if isinstance(value, Mapping) and (value or not above):
            yield from _flatten(value, (*above, key))
        else:
            yield (*above, key), value


def _unflatten(leaves: Mapping[_Path, Any]) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for path, value in leaves.items():
        table = tables
        for key in path[:-1]:
            table = table.setdefault(key, {})
        table[path[-1]] = value
    return tables


# ---------------------------------------------------------------------------------------------------------------- texts


def presets() -> dict[str, str]:
    """Name -> TOML text of the recipes that installed packages ship (entry-point group ``avatarkit.presets``)."""
    texts = {}
    for entry in metadata.entry_points(group="avatarkit.presets"):
        for file in resources.files(entry.value).iterdir():
            if file.name.endswith(".toml"):
                texts[file.name.removesuffix(".toml")] = file.read_text(encoding="utf-8")
    return texts


def _shipped(preset: str | None, file: Path | str | None) -> tuple[str | None, Path | str | None]:
    """``paper.toml`` stands for the preset where no such file is here."""
    if preset is not None or file is None or os.path.exists(file):
        return preset, file
    bare = Path(file).name == str(file) and Path(file).suffix == ".toml"
    return (Path(file).stem, None) if bare and Path(file).stem in presets() else (preset, file)


def _read(file: Path) -> str:
    try:
        return read_text(file, "recipe", _MOST_BYTES)
    except InputError as error:
        raise ConfigError(str(error)) from error


def _parse(text: str, origin: str) -> dict[str, Any]:
    try:
        return parse_toml(text)
    except BadText as error:
        raise ConfigError(f"{origin} cannot be used: {error}.") from error


def _parse_setting(text: str) -> dict[str, Any]:
    """``slot.option=value`` -> nested tables."""
    name, equals, value = (part.strip() for part in text.partition("="))
    path = name.split(".")
    if not equals or not 2 <= len(path) <= 8 or not all(path) or len(name) > 200 or not name.isprintable():
        text = text if len(text) <= 80 else f"{text[:77]}..."
        raise ConfigError(f"--set {text!r} is not of the form slot.option=value, e.g. training.steps=500.")
    try:
        parsed = parse_value(value)
    except BadText as error:
        raise ConfigError(f"--set {name}: {error}.") from error
    return _unflatten({tuple(path): parsed})


def _list(names: Iterable[str]) -> str:
    return f"There is: {', '.join(names)}."
