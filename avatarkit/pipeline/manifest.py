"""What the manifest of an avatar says about its build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from avatarkit import __version__
from avatarkit.components import Components
from avatarkit.registry.provenance import weights_digests
from avatarkit.registry.specs import ComponentSpec
from avatarkit.types.photo import Photo
from avatarkit.types.subject import Subject

__all__ = ["manifest_of", "without_folders"]


def manifest_of(
    components: Components, records: Mapping[str, Any], photo: Photo, subject: Subject, agreed: Mapping[str, Any]
) -> dict[str, Any]:
    """Return how this avatar was made; ``bundle.write_bundle`` adds the format."""
    used = {s: components.descriptor(s) for s, c in components.recipe.slots.items() if c.use}
    losses = [components.registry.get(c.kind, c.use) for c in components.recipe.losses if c.use]
    ledger = dict.fromkeys([*used.values(), *losses, *components.used])
    return {
        "avatarkit": __version__,
        "components": {s: _origin(d) for s, d in used.items()},
        "recipe": without_folders(components.recipe.to_dict()),
        "seed": components.context.seed,
        "device": str(components.device),
        "inputs": {"photo": photo.sha256},
        "stages": dict(records),
        "metrics": dict(subject.quality.metrics),
        "seen": dict(subject.quality.visible),
        "warnings": [notice.text for notice in subject.quality.warnings],
        "licenses": {f"{d.kind}/{d.name}": {k: v for k, v in asdict(d.terms).items() if v != ""} for d in ledger},
        "weights": {name: digest for d in ledger for name, digest in weights_digests(d).items()},
        **agreed,
    }


def _origin(component: ComponentSpec) -> dict[str, str]:
    """Return name, version and package of a component, for the manifest."""
    plugin = component.plugin
    return {"name": component.name, "version": plugin.version, "distribution": Path(plugin.distribution).name}


def without_folders(value: Any) -> Any:
    """Return the options with paths reduced to file names.

    An avatar must not contain paths of the machine that built it.
    """
    if isinstance(value, Mapping):
        return {k: without_folders(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_folders(v) for v in value]
    if isinstance(value, (str, Path)):
        path = Path(value)
        told = path.is_absolute() or str(value).startswith("~") or (len(path.parts) > 1 and path.exists())
        return path.name if told else value
    return value
