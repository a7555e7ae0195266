"""What a build will do and whether its requirements are met, checked before any stage runs."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avatarkit.components import resolve_device
from avatarkit.config import Choice, Recipe
from avatarkit.errors import (
    InputError,
    MissingDependency,
    MissingDevice,
    MissingRequirement,
    MissingWeights,
    StoreError,
)
from avatarkit.hookspecs import License
from avatarkit.pipeline.estimates import Estimate, estimates
from avatarkit.registry import ComponentSpec, Registry
from avatarkit.registry.requirements import Requirement, requirements
from avatarkit.storage.bundle import workspace
from avatarkit.utils.paths import writable_home

__all__ = ["Plan", "PlanStep", "plan"]

_FREE_MB = 300  # disk space for stages, clips and checkpoints of one standard build


@dataclass(frozen=True)
class PlanStep:
    """A slot of the recipe, or a term of the objective, and its component.

    Attributes:
        slot: ``tracker``, ``losses.rgb``, ...
        component: descriptor of the component; None = the slot is empty.
        config: all options with their values, including defaults.
        requirements: what the component needs.
        features: what an avatar's Gaussians are, or what a renderer draws, see ``Register``.
    """

    slot: str
    component: ComponentSpec | None
    config: dict[str, Any]
    requirements: tuple[Requirement, ...]
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A build before it starts.

    Attributes:
        photo: file name of the photo.
        output: the avatar's folder.
        recipe: name of the recipe.
        device: ``cpu`` or ``cuda``.
        steps: one for each slot and each term of the objective.
        estimates: memory and time of the heavy steps.
    """

    photo: str
    output: str
    recipe: str
    device: str
    steps: tuple[PlanStep, ...]
    estimates: tuple[Estimate, ...] = ()

    @property
    def missing(self) -> tuple[tuple[PlanStep, Requirement], ...]:
        """Missing requirements, each once; a missing device once per component."""
        found: dict[tuple[str, str, str], tuple[PlanStep, Requirement]] = {}
        for step in self.steps:
            for requirement in step.requirements:
                whose = step.slot if requirement.kind == "device" else ""
                if not requirement.met:
                    found.setdefault((requirement.kind, requirement.name, whose), (step, requirement))
        return tuple(found.values())

    @property
    def licenses(self) -> dict[str, License]:
        """Component (``tracker 'exavatar'``) -> its license."""
        return {step.component.owner: step.component.terms for step in self.steps if step.component}

    def require_ready(self) -> None:
        """Raise an error if a requirement is missing.

        Raises:
            MissingRequirement: names everything that is missing and how to get it.
        """
        if not self.missing:
            return
        lines = []
        for step, requirement in self.missing:
            owner = step.component.owner if step.component else step.slot
            needs = "" if requirement.kind == "setup" else " needs"
            lines.append(f"  - {owner}{needs or ':'} {requirement.text}")
        kinds = {requirement.kind for _, requirement in self.missing}
        errors = {"module": MissingDependency, "weights": MissingWeights, "device": MissingDevice}
        error = errors.get(kinds.pop(), MissingRequirement) if len(kinds) == 1 else MissingRequirement
        raise error(f"The recipe {self.recipe!r} has missing requirements:\n" + "\n".join(lines))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "photo": self.photo,
            "output": self.output,
            "recipe": self.recipe,
            "device": self.device,
            "ready": not self.missing,
            "estimates": [dataclasses.asdict(estimate) for estimate in self.estimates],
            "steps": [
                {
                    "slot": step.slot,
                    "component": step.component.name if step.component else None,
                    "plugin": step.component.plugin.name if step.component else None,
                    "options": step.config,
                    "needs": [dataclasses.asdict(r) for r in step.requirements],
                    "license": dataclasses.asdict(step.component.terms) if step.component else None,
                }
                for step in self.steps
            ],
        }


def plan(photo: Path | str, output: Path | str | None, recipe: Recipe, registry: Registry, device: str) -> Plan:
    """Plan a build without running it.

    Args:
        photo: the photo; only its presence is checked.
        output: the avatar's folder; None = ``<photo>.avatar`` in the current folder.
        recipe: components and numbers.
        registry: where components are found.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ConfigError: an option is unknown or wrong.
        PluginError: a component is not installed.
        MissingDevice: CUDA was requested and is not available.
        InputError: the photo does not exist.
        StoreError: the output cannot be written.
    """
    photo = Path(photo)
    if not photo.is_file():
        raise InputError(f"{photo} is a folder, not a photo." if photo.is_dir() else f"There is no photo {photo}.")
    output = Path(output) if output is not None else Path.cwd() / f"{photo.stem}.avatar"
    _check_writable(output)
    used = resolve_device(device).type
    recipe.check_sections()
    choices: list[Choice] = [*recipe.slots.values(), *recipe.losses]
    steps = _drawable(tuple(_step(choice, registry, used) for choice in choices), registry)
    components, configs = ({step.slot: getattr(step, name) for step in steps} for name in ("component", "config"))
    return Plan(photo.name, str(output), recipe.name, used, steps, estimates(recipe, components, configs, used))


def _step(choice: Choice, registry: Registry, device: str) -> PlanStep:
    if choice.use is None:
        return PlanStep(choice.slot, None, {}, ())
    component = registry.get(choice.kind, choice.use)
    config = component.make_config(choice.options, choice.origins)
    values = {} if config is None else component.of_config(lambda: dataclasses.asdict(config))
    needs = requirements(component, device, values, config)
    return PlanStep(choice.slot, component, values, needs, component.features_with(config))


def _drawable(steps: tuple[PlanStep, ...], registry: Registry) -> tuple[PlanStep, ...]:
    """Add a requirement that is not met to an avatar whose Gaussians the renderer cannot draw."""
    chosen = {step.slot: step for step in steps if step.component}
    if not {"avatar", "renderer"} <= set(chosen):
        return steps
    avatar, renderer = chosen["avatar"].component, chosen["renderer"].component
    assert avatar is not None
    assert renderer is not None
    if not (text := registry.undrawn(chosen["avatar"].features, renderer)):
        return steps
    need = Requirement("setup", avatar.name, False, text)
    return tuple(replace(s, requirements=(*s.requirements, need)) if s.slot == "avatar" else s for s in steps)


def _check_writable(output: Path) -> None:
    """Check that the output folder can be created and the disk has enough space.

    The nearest existing parent folder is checked; missing folders are created later.
    """
    workspace(output)
    folder, writable = writable_home(output.absolute().parent)
    if not writable:
        raise StoreError(f"The folder {folder} is not writable. Choose another one with -o.")
    free = shutil.disk_usage(folder).free / 1e6
    if free < _FREE_MB:
        raise StoreError(
            f"Only {free:.0f} MB are free on the disk of {folder}; a build needs about {_FREE_MB} MB. Free some space."
        )
