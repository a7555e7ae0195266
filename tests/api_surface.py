"""The public surface as plain data: what ``api_surface.json`` guards.

``python tests/api_surface.py`` writes it anew; with ``--check`` it says what is not recorded and exits with 1.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import avatarkit
from avatarkit import errors, hookspecs, interfaces, testing
from avatarkit.config import OPTIONAL_SLOTS, SECTIONS, SLOTS
from avatarkit.registry import ENTRY_POINT_GROUP, KINDS

FILE = Path(__file__).with_name("api_surface.json")


def signature(function: Any) -> list[str]:
    """Arguments as texts: ``photo``, ``preset=None``; types may become wider and are left out."""
    texts = []
    for p in inspect.signature(function).parameters.values():
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        only = " (by name)" if p.kind == p.KEYWORD_ONLY else ""
        default = "" if p.default is p.empty else "=..."
        texts.append(f"{star}{p.name}{default}{only}")
    return texts


def describe(thing: Any) -> Any:
    """A class as its fields and public methods, a function as its arguments."""
    if inspect.isclass(thing):
        members = {
            name: signature(value) if inspect.isfunction(value) else "property"
            for name, value in vars(thing).items()
            if (not name.startswith("_") or name == "__call__")
            and (inspect.isfunction(value) or isinstance(value, (property, cached_property)))
        }
        members |= {
            name: signature(value.__func__)
            for name, value in vars(thing).items()
            if isinstance(value, classmethod) and not name.startswith("_")
        }
        if dataclasses.is_dataclass(thing):
            plain = {dataclasses.MISSING}
            members |= {
                f.name: "field" if {f.default, f.default_factory} == plain else "field=..."
                for f in dataclasses.fields(thing)
                if not f.name.startswith("_")
            }
        if getattr(thing, "_is_protocol", False):
            members |= dict.fromkeys(thing.__annotations__, "attribute")
        if issubclass(thing, BaseException):
            members["base"] = thing.__base__.__name__
        return dict(sorted(members.items()))
    return signature(thing) if callable(thing) else type(thing).__name__


def surface() -> dict[str, Any]:
    """Everything that other people's code may lean on."""
    specs = {n: f for n, f in inspect.getmembers(hookspecs, inspect.isfunction) if hasattr(f, "avatarkit_spec")}
    return {
        "entry points": [ENTRY_POINT_GROUP, "avatarkit.presets"],
        "kinds": dict(KINDS),
        "slots": dict(SLOTS),
        "optional slots": sorted(OPTIONAL_SLOTS),
        "sections": sorted(SECTIONS),
        "hooks": {name: signature(f) for name, f in sorted(specs.items())} | {"register": signature(hookspecs.Register.__call__)},
        "avatarkit": {name: describe(getattr(avatarkit, name)) for name in sorted(avatarkit.__all__)},
        "avatarkit.interfaces": {name: describe(getattr(interfaces, name)) for name in sorted(interfaces.__all__)},
        "avatarkit.errors": {name: describe(getattr(errors, name)) for name in sorted(errors.__all__)},
        "avatarkit.testing": {name: describe(getattr(testing, name)) for name in sorted(testing.__all__)},
    }


def differences(promised: Any, actual: Any, path: str = "") -> list[tuple[str, str]]:
    """("gone" | "new" | "changed", where) for all that is not the same."""
    if isinstance(promised, dict) and isinstance(actual, dict):
        found = [("gone", f"{path}{key}") for key in promised if key not in actual]
        found += [("new", f"{path}{key}") for key in actual if key not in promised]
        for key in promised:
            if key in actual:
                found += differences(promised[key], actual[key], f"{path}{key} > ")
        return found
    if isinstance(promised, list) and isinstance(actual, list):
        grown = actual[: len(promised)] == promised and all("=..." in text or "*" in text for text in actual[len(promised) :])
        kind = "new" if grown else "changed"
        return [] if promised == actual else [(kind, f"{path.removesuffix(' > ')}: {promised} -> {actual}")]
    return [] if promised == actual else [("changed", f"{path.removesuffix(' > ')}: {promised} -> {actual}")]


def write() -> None:
    """Records the surface as it is now."""
    FILE.write_text(json.dumps(surface(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def check() -> int:
    """Prints what is not as it was recorded; 1 where there is something."""
    found = differences(json.loads(FILE.read_text(encoding="utf-8")), json.loads(json.dumps(surface())))
    for how, where in found:
        print(f"{how}: {where}")
    if found:
        print("Record it: python tests/api_surface.py")
    return int(bool(found))


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(check())
    write()
