"""The ledger of licenses: code, weights and training data of each component, and of what avatarkit bundles."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from avatarkit.errors import ConfigError
from avatarkit.utils.text import one_line

if TYPE_CHECKING:
    from avatarkit.config import Recipe
    from avatarkit.registry import ComponentSpec, Registry

__all__ = ["Entry", "bundled", "entries_of", "entries_of_manifest", "require_commercial"]

_NO_WEIGHTS = ("none", "")


@dataclass(frozen=True)
class Entry:
    """Terms of one component, or of something that is bundled.

    Attributes:
        name: ``kind/name``, or name and version.
        code, weights, data: terms of the code, of the weights, and of what they were trained on; "" = there is none.
        commercial: whether commercial use is allowed; None = ask the source.
        source: web page of the terms.
        doubt: what is uncertain about them.
    """

    name: str
    code: str = ""
    weights: str = ""
    data: str = ""
    commercial: bool | None = None
    source: str = ""
    doubt: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def entries_of(components: Iterable[ComponentSpec]) -> list[Entry]:
    """Return the terms of components, those of each checkpoint after its component."""
    found: list[Entry] = []
    for component in components:
        found.append(_entry(f"{component.kind}/{component.name}", asdict(component.terms)))
        for weights in component.needs.sources:
            terms = {"weights": weights.license, "commercial": weights.commercial, "data": weights.data or "not stated"}
            about = {"source": weights.source, "doubt": weights.doubt, "code": ""}
            found.append(_entry(f"weights/{weights.name}", terms | about))
    return list({entry.name: entry for entry in found}.values())


def entries_of_manifest(manifest: Mapping[str, Any]) -> list[Entry]:
    """Return the terms that the manifest of an avatar recorded when it was built."""
    return [_entry(one_line(name), terms) for name, terms in manifest.get("licenses", {}).items()]


def bundled() -> list[Entry]:
    """Return the terms of other people's work that avatarkit ships."""
    text = resources.files("avatarkit_cli.trust").joinpath("bundled.toml").read_text(encoding="utf-8")
    return [_entry(name, terms) for name, terms in tomllib.loads(text).items()]


def _entry(name: str, terms: Mapping[str, Any]) -> Entry:
    weights = one_line(terms.get("weights", ""))
    trained = weights.partition(";")[0].strip() not in _NO_WEIGHTS
    data = one_line(terms.get("data", "")) or ("not stated" if trained else "")
    texts = {key: one_line(terms.get(key, "")) for key in ("code", "source", "doubt")}
    return Entry(name, weights="" if weights == "none" else weights, data=data, commercial=terms.get("commercial"), **texts)


def _commercial(component: ComponentSpec) -> bool | None:
    """Return whether the terms of a component and of all its weights allow commercial use; None = they do not clearly."""
    terms = {component.terms.commercial, *(weights.commercial for weights in component.needs.sources)}
    return False if False in terms else None if None in terms else True


def require_commercial(recipe: Recipe, registry: Registry) -> None:
    """Check that the terms of all components of a recipe clearly allow commercial use.

    Terms of training data alone do not refuse: they are in the ledger.

    Raises:
        ConfigError: those of one do not; the message names components of the same kind whose terms do.
    """
    lines = []
    for choice in (*recipe.slots.values(), *recipe.losses):
        if choice.use is None:
            continue
        component = registry.get(choice.kind, choice.use)
        if (allowed := _commercial(component)) is True:
            continue
        verb = "forbid commercial use" if allowed is False else "do not clearly allow commercial use"
        able = [c.name for c in registry.components(choice.kind).values() if _commercial(c) is True]
        other = f"choose {' or '.join(able)}" if able else "no other one is installed whose terms do"
        lines.append(f"the terms of {component.owner} {verb}: {other}")
    if lines:
        raise ConfigError(f"--commercial: {'; '.join(lines)}. See avatarkit licenses.")
