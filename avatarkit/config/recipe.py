"""Recipes: the component in each slot of the method, and its options.

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

Later layers override earlier ones: preset, recipe file, flags, ``--set slot.option=value``. If a layer puts another
component into a slot, the options of the previous component are dropped. Fast to import.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata, resources
from pathlib import Path
from typing import Annotated, Any, TypeVar

from avatarkit.config.options import Range, did_you_mean, make_config
from avatarkit.config.sections import SECTIONS
from avatarkit.errors import ConfigError, InputError
from avatarkit.utils.files import read_text
from avatarkit.utils.moved import renamed
from avatarkit.utils.plain import BadText, parse_toml, parse_value
from avatarkit.utils.text import shortened

__all__ = ["OPTIONAL_SLOTS", "SECTIONS", "SLOTS", "Choice", "LossChoice", "Recipe", "presets", "require_slot"]

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


def require_slot(name: str) -> None:
    """Raise ConfigError, with the slots, unless a recipe has this slot."""
    if name not in SLOTS:
        raise ConfigError(f"A recipe has no slot {name!r}.{did_you_mean(name, SLOTS)} Slots: {', '.join(SLOTS)}.")


_KINDS_OF_STEP = ("photo", "body", "head")
_MOST_BYTES = 1 << 20  # size limit of a recipe
_Path = tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """The component chosen for a slot.

    Attributes:
        slot: slot of the recipe.
        kind: kind of component.
        use: name of the component; None = empty.
        options: options of the component, as given in the recipe.
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
        weight: factor.
        start: first step at which it is used.
        on: kinds of step (photo, body, head) on which it is used.
    """

    weight: float = 1.0
    start: int = 0
    on: tuple[str, ...] = _KINDS_OF_STEP

    @property
    def name(self) -> str:
        """Name of the term in the recipe."""
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
    """A complete choice of components and numbers.

    Create one with ``load`` or ``from_dict``.

    Attributes:
        name: name of the preset or file.
        slots: slot -> choice, for all of ``SLOTS``.
        losses: terms whose weight is not zero.
        tables: everything as nested plain values, as in the file.
        plugins: files beside the recipe's file that it lists under ``plugins``; whoever loads the registry loads them too.
    """

    name: str
    slots: Mapping[str, Choice]
    losses: tuple[LossChoice, ...]
    tables: Mapping[str, Any]
    _origins: Mapping[_Path, str] = field(repr=False)
    plugins: tuple[Path, ...] = ()

    @classmethod
    def load(
        cls,
        preset: str | None = None,
        file: Path | str | None = None,
        components: Mapping[str, str | None] | None = None,
        settings: Iterable[str] = (),
        *,
        flags: Mapping[str, str | None] | None = None,
    ) -> Recipe:
        """Combine preset, file, flags and settings into a recipe and check it.

        Args:
            preset: name of a recipe that an installed package ships.
            file: a TOML file; ``preset = "draft"`` at its top is used if ``preset`` is None. If no file ``NAME.toml`` exists,
                the name means the preset NAME. ``plugins = ["mine.py"]`` names plugin files in the same folder.
            components: slot -> component name ("none" = empty); None values are skipped.
            settings: ``slot.option=value`` texts; values are TOML, bare words are text.
            flags: former name of ``components``.

        Raises:
            ConfigError: unreadable file, unknown slot, missing component or wrong value.
        """
        leaves: dict[_Path, tuple[Any, str]] = {}
        names = []
        preset, file = _shipped(preset, file)
        tables = {} if file is None else _parse(_read(Path(file)), str(file))
        base, listed = tables.pop("preset", None), tables.pop("plugins", [])
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
        if flags is not None:
            warnings.warn("The argument flags of Recipe.load is called components now.", DeprecationWarning, stacklevel=2)
        for slot, use in (components or flags or {}).items():
            if use is not None:
                _lay(leaves, {slot: {"use": use}}, f"--{slot.replace('_', '-')}")
        parsed = [(text, _parse_setting(text)) for text in settings]
        for text, tables in sorted(parsed, key=lambda p: not p[0].partition("=")[0].strip().endswith(".use")):
            _lay(leaves, tables, f"--set {shortened(text)}")
        return replace(cls._checked("+".join(names) or "custom", leaves), plugins=_plugins(listed, file))

    @classmethod
    def from_dict(cls, tables: Mapping[str, Any], origin: str = "manifest") -> Recipe:
        """Return the recipe that ``to_dict`` described."""
        leaves: dict[_Path, tuple[Any, str]] = {}
        tables = dict(tables)
        name = str(tables.pop("name", "custom"))
        _lay(leaves, tables, origin)
        return cls._checked(name, leaves)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a manifest: ``name`` and the tables of the TOML file."""
        return {"name": self.name, **self.tables}

    def check_sections(self) -> None:
        """Check the options of the tables that are not slots.

        Raises:
            ConfigError: an option is unknown or wrong.
        """
        for name in SECTIONS:
            if name in self.tables:
                self.resolved(name)

    def resolved(self, name: str) -> Any:
        """Return a table that is not a slot as its config class in ``SECTIONS``."""
        return self.section(name, SECTIONS[name])

    def section(self, name: str, cls: type[T]) -> T:
        """Return a table that is not a slot (``training``, ...) as a config class."""
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
        raise ConfigError(f"The slot {slot!r} is required and cannot be empty (from {origin}). Choose a component for it.")
    options = {k: v for k, v in table.items() if k != "use"}
    sources = {path[1]: text for path, text in origins.items() if path[0] == slot and len(path) > 1}
    return Choice(slot, kind, None if use == "none" else use, options, sources, origin)


def _losses(tables: Mapping[str, Any], slots: Mapping[str, Choice], origins: Mapping[_Path, str]) -> tuple[LossChoice, ...]:
    """Return the terms of the objective.

    A term without ``use`` takes the component in the slot of the same name (``perceptual``).
    """
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
    """Merge a layer over the others, in place."""
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
    """Return whether ``path`` is an option of the component in ``slot``.

    Keys of the slot itself, such as ``use``, are not.
    """
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
    """Return name -> TOML text of the recipes that installed packages ship.

    They are found in the entry-point group ``avatarkit.presets``.
    """
    texts = {}
    for entry in metadata.entry_points(group="avatarkit.presets"):
        for file in resources.files(entry.value).iterdir():
            if file.name.endswith(".toml"):
                texts[file.name.removesuffix(".toml")] = file.read_text(encoding="utf-8")
    return texts


def _shipped(preset: str | None, file: Path | str | None) -> tuple[str | None, Path | str | None]:
    """Return the preset that ``paper.toml`` stands for if no such file exists."""
    if preset is not None or file is None or os.path.exists(file):
        return preset, file
    bare = Path(file).name == str(file) and Path(file).suffix == ".toml"
    return (Path(file).stem, None) if bare and Path(file).stem in presets() else (preset, file)


def _plugins(listed: Any, file: Path | str | None) -> tuple[Path, ...]:
    """Return the plugin files that a recipe lists.

    They lie beside it, so that a recipe alone, which may come from a stranger, runs no code.
    """
    if not listed or file is None:
        return ()
    names = [str(name) for name in listed] if isinstance(listed, list) else [""]
    if not all(Path(name).name == name and name.endswith(".py") for name in names):
        raise ConfigError(f'plugins in {file} must be names of Python files in its folder, e.g. plugins = ["mine.py"].')
    return tuple(Path(file).parent / name for name in names)


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
    """Parse ``slot.option=value`` into nested tables."""
    name, equals, value = (part.strip() for part in text.partition("="))
    path = name.split(".")
    if not equals or not 2 <= len(path) <= 8 or not all(path) or len(name) > 200 or not name.isprintable():
        raise ConfigError(f"--set {shortened(text)!r} is not of the form slot.option=value, e.g. training.steps=500.")
    try:
        parsed = parse_value(value)
    except BadText as error:
        raise ConfigError(f"--set {name}: {error}.") from error
    return _unflatten({tuple(path): parsed})


def _list(names: Iterable[str]) -> str:
    return f"Known: {', '.join(names)}."
