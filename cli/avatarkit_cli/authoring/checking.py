"""``avatarkit plugins check``: test material and result table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatarkit_cli.shared import say, table

if TYPE_CHECKING:
    from avatarkit.config import Recipe
    from avatarkit.registry import Registry
    from avatarkit.registry.specs import ComponentSpec
    from avatarkit.testing import Finding, Material

__all__ = ["check", "show"]

_SEES_PHOTOS = ("matting", "keypoints", "tracker")
"""Kinds that a synthetic person tests poorly: they are tested on a photo, with the components of a preset."""


def check(
    component: ComponentSpec, registry: Registry, options: Mapping[str, Any], photo: Path | None, preset: str
) -> list[Finding]:
    """Run the conformance checks.

    Args:
        component: from a registry.
        registry: of all components.
        options: options of the component.
        photo: photo to test it on; None = the tiny person, or the sample portrait for kinds that process photos.
        preset: preset whose other components are used.
    """
    from avatarkit.config import Recipe
    from avatarkit.io.photo import sample_photo
    from avatarkit.testing import check_component

    recipe = Recipe.load(preset)
    if photo is None and component.kind in _SEES_PHOTOS and _peers_are_here(recipe, registry):
        photo = sample_photo("portrait")
    material = _photo_material(recipe, registry, photo) if photo else _tiny_material(component, recipe, registry)
    return check_component(component, material, options)


def _peers_are_here(recipe: Recipe, registry: Registry) -> bool:
    """Return whether the preset's own components process photos too.

    Without plugins there is only the tiny person.
    """
    needed = [recipe.slots[slot] for slot in ("keypoints", "matting", "body")]
    return all(choice.use in registry.components(choice.kind) for choice in needed)


def _photo_material(recipe: Recipe, registry: Registry, photo: Path) -> Material:
    from avatarkit.components import Components
    from avatarkit.testing import PhotoMaterial

    return PhotoMaterial(Components(recipe, registry, "cpu"), photo)


def _tiny_material(component: ComponentSpec, recipe: Recipe, registry: Registry) -> Material:
    """Return the tiny person, with the preset's renderer, which is faster.

    For losses the preset's avatar is used too, because they may need its fields.
    """
    from avatarkit.testing import Material

    material = Material()
    for slot, kinds in (("renderer", {"labels", "avatar", "loss", "exporter"}), ("avatar", {"loss"})):
        choice = recipe.slots[slot]
        if component.kind in kinds and choice.use in registry.components(choice.kind):
            material.put(slot, registry.create(choice, material.context))
    return material


def show(component: ComponentSpec, findings: list[Finding]) -> None:
    """Print the table and its summary."""
    say(f"{component.kind} {component.name} of {component.maker}")
    table(("", "check", "detail"), [(f.state, f.check, f.detail) for f in findings])
    counts = {state: sum(f.state == state for f in findings) for state in ("passed", "failed", "skipped")}
    say(", ".join(f"{count} {state}" for state, count in counts.items() if count))
