"""``avatarkit.build``: the Python call of the same shape as the command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from avatarkit.components import resolve_device
from avatarkit.config import Recipe
from avatarkit.errors import ConfigError
from avatarkit.pipeline.build import build as build_from_recipe
from avatarkit.registry import Registry
from avatarkit.utils.progress import Progress

__all__ = ["build", "choose_recipe"]


def build(
    photo: Path | str,
    output: Path | str | None = None,
    *,
    preset: str | None = None,
    recipe: Recipe | Path | str | None = None,
    components: Mapping[str, str | None] | None = None,
    settings: Iterable[str] = (),
    registry: Registry | None = None,
    device: str = "auto",
    seed: int = 0,
    start: str | None = None,
    fresh: bool = False,
    consent: str | None = None,
    keep_photo: bool = False,
    person: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Builds an avatar from one photo of a consenting person.

    A build that was stopped goes on where it was when it is called again.

    Args:
        photo: the picture.
        output: the avatar's folder; None = ``<photo>.avatar`` in the current folder.
        preset: ``instant``, ``draft``, ``standard``, ``paper`` or another that is installed; None = by the device.
        recipe: a TOML file over the preset, or a complete ``Recipe``.
        components: slot -> name of a component, over both: ``{"matting": "mediapipe"}``.
        settings: ``slot.option=value`` texts over all: ``["training.steps=500"]``.
        registry: where components are found; None = all installed plugins.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: of everything random; the same seed gives the same avatar.
        start: stage to make again, with all after it.
        fresh: make all stages again.
        consent: what the person agreed to, for the manifest.
        keep_photo: put the photo itself into the avatar.
        person: which one, counted from 1 left to right, where the photo shows several.
        progress: told what is being done.

    Returns:
        The avatar's folder, for ``avatarkit.load``.

    Raises:
        AvatarkitError: see ``avatarkit.errors``; nothing half written is left behind.
    """
    if isinstance(recipe, Recipe):
        if preset or components or settings:
            raise ConfigError(
                "A complete Recipe leaves no room for preset, components or settings; give them to Recipe.load."
            )
        chosen = recipe
    else:
        chosen = choose_recipe(preset, recipe, components, settings, device)
    return build_from_recipe(
        photo, output, recipe=chosen, registry=registry, device=device, seed=seed, start=start, fresh=fresh,
        consent=consent, keep_photo=keep_photo, person=person, progress=progress,
    )  # fmt: skip


def choose_recipe(
    preset: str | None,
    file: Path | str | None,
    components: Mapping[str, str | None] | None,
    settings: Iterable[str],
    device: str,
) -> Recipe:
    """The recipe of a build; where neither preset nor file is given, ``paper`` with CUDA and ``standard`` without."""
    if preset is None and file is None:
        preset = "paper" if resolve_device(device).type == "cuda" else "standard"
    return Recipe.load(preset, file, components, settings)
