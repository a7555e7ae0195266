"""``avatarkit.build``: the Python function with the arguments of the command."""

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
    """Build an avatar from one photo of a consenting person.

    If a build was stopped, call it again and it continues where it stopped.

    Args:
        photo: path of the photo.
        output: the avatar's folder; None = ``<photo>.avatar`` in the current folder.
        preset: ``instant``, ``draft``, ``standard``, ``paper`` or another installed one; None = chosen by the device.
        recipe: a TOML file that changes the preset, or a complete ``Recipe``.
        components: slot -> name of a component, overriding both: ``{"matting": "mediapipe"}``.
        settings: ``slot.option=value`` texts, overriding all: ``["training.steps=500"]``.
        registry: where components are found; None = all installed plugins.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: random seed; the same seed gives the same avatar.
        start: stage to run again, with all stages after it.
        fresh: run all stages again.
        consent: what the person agreed to, for the manifest.
        keep_photo: put the photo itself into the avatar.
        person: number of the person, counted from 1 left to right, if the photo shows several.
        progress: receives progress reports.

    Returns:
        The avatar's folder, for ``avatarkit.load``.

    Raises:
        AvatarkitError: see ``avatarkit.errors``; no partial output is left behind.
    """
    if isinstance(recipe, Recipe):
        if preset or components or settings:
            raise ConfigError("preset, components and settings cannot be combined with a Recipe; pass them to Recipe.load.")
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
    """Return the recipe of a build.

    Without preset and file it is ``paper`` with CUDA and ``standard`` without.
    """
    if preset is None and file is None:
        preset = "paper" if resolve_device(device).type == "cuda" else "standard"
    return Recipe.load(preset, file, components, settings)
