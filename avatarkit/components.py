"""The components of one recipe, created on first use.

Plugins use each other's components through ``Components.get``.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch

from avatarkit.config import Choice, LossChoice, Recipe, require_slot
from avatarkit.config.options import SEEDS, without_machine
from avatarkit.errors import ConfigError, MissingDependency, MissingDevice, PluginError
from avatarkit.interfaces import PROTOCOLS, Context, GetComponent, Loss, SpeechDriver, with_defaults
from avatarkit.registry.provenance import source_digest, weights_digests
from avatarkit.registry.requirements import requirements, weights_finder
from avatarkit.storage.stage_cache import content_key
from avatarkit.utils.moved import current_name
from avatarkit.utils.paths import cache_folder
from avatarkit.utils.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from avatarkit.registry import ComponentSpec, Registry

__all__ = ["Components", "choose_recipe", "resolve_device"]

T = TypeVar("T")


def resolve_device(device: str) -> torch.device:
    """Return the torch device; ``auto`` is CUDA if it is usable, otherwise the CPU.

    Raises:
        ConfigError: unknown device.
        MissingDevice: CUDA was requested and is not available.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise MissingDevice("No CUDA device is available here; omit --device or use --device cpu.")
    try:
        return torch.device(device)
    except RuntimeError:
        raise ConfigError(f"There is no device {device!r}: use auto, cpu or cuda.") from None


def choose_recipe(
    preset: str | None,
    recipe: Recipe | Path | str | None,
    components: Mapping[str, str | None] | None,
    settings: Iterable[str],
    device: str,
) -> Recipe:
    """Return the recipe of a build.

    Without preset and file it is ``paper`` with CUDA and ``standard`` without.

    Raises:
        ConfigError: as ``Recipe.load``, or something else is given with a complete recipe.
    """
    if isinstance(recipe, Recipe):
        if preset or components or settings:
            raise ConfigError("preset, components and settings cannot be combined with a Recipe; pass them to Recipe.load.")
        return recipe
    if preset is None and recipe is None:
        preset = "paper" if resolve_device(device).type == "cuda" else "standard"
    return Recipe.load(preset, recipe, components, settings)


class Components:
    """Creates each component of a recipe once.

    Args:
        recipe: names and options.
        registry: where components are found; None = load all installed plugins.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: seed of the build.
        progress: receives progress reports of components.
        foreign: whether the recipe comes with an avatar from an unknown source: options that concern the machine (see
            ``options.Machine``) are ignored, and this machine's defaults apply.
        scratch: see ``Context``.
    """

    def __init__(
        self,
        recipe: Recipe,
        registry: Registry | None = None,
        device: str | torch.device = "auto",
        seed: int = 0,
        progress: Progress | None = None,
        foreign: bool = False,
        scratch: Path | None = None,
    ) -> None:
        if registry is None:
            from avatarkit.registry import Registry

            registry = Registry.load()
        if not isinstance(seed, int) or seed not in SEEDS:
            raise ConfigError(f"The seed must be a whole number, {SEEDS}, not {str(seed)[:40]}.")
        self.recipe, self.registry, self.foreign = recipe, registry, foreign
        self.device = device if isinstance(device, torch.device) else resolve_device(device)
        self.progress = progress or SilentProgress()
        self.context = Context(self.device, seed, cache_folder(), cast(GetComponent, self.get), self._tell, scratch=scratch)
        self._made: dict[str, Any] = {}
        self._makers: list[ComponentSpec] = []

    def _tell(self, message: str, fraction: float | None = None) -> None:
        self.progress.update(message, fraction)

    def choice(self, slot: str) -> Choice:
        """Return the recipe's choice for a slot."""
        slot = current_name(slot)
        require_slot(slot)
        return self.recipe.slots[slot]

    def descriptor(self, slot: str) -> ComponentSpec:
        """Return the descriptor of the component in a slot."""
        choice = self.choice(slot)
        if choice.use is None:
            raise ConfigError(f"The slot {slot!r} of the recipe is empty.")
        return self.registry.get(choice.kind, choice.use)

    def identities(self, slots: Iterable[str]) -> dict[str, Any]:
        """Return slot -> ``identity`` of its component, for content keys.

        Empty slots are left out.
        """
        return {slot: self.identity(self.choice(slot)) for slot in slots if self.choice(slot).use}

    def identity(self, choice: Choice) -> dict[str, Any]:
        """Return everything that the results of a component depend on.

        These are its name, the version of its plugin, its revision and its complete options; its source while it is edited, the
        digests of its weights, and what the method ``fingerprint`` of its config returns.
        """
        component = self.registry.get(choice.kind, choice.use or "")
        config = component.make_config(choice.options, choice.origins)
        component.of_config(lambda: content_key(config))  # its options are plain values
        found = {"use": choice.use, "version": component.plugin.version, "revision": component.revision, "options": config}
        more = {
            "source": source_digest(component),
            "weights": weights_digests(component, self._tell),
            "fingerprint": component.of_config(lambda: str(config.fingerprint()) if hasattr(config, "fingerprint") else ""),
        }
        return found | {name: value for name, value in more.items() if value}

    def get(self, slot: str, name: str | None = None) -> Any:
        """Return the component in a slot.

        With ``name``, return another component of the slot's kind with default options.
        """
        key = slot if name is None else f"{slot}:{name}"
        if key not in self._made:
            if name is None:
                self._note(self.descriptor(slot))
                made = self.registry.create(self._obeyed(self.choice(slot)), self._context(self.descriptor(slot)))
            else:
                component = self.registry.get(self.choice(slot).kind, name)
                self._note(component)
                made = component.create({}, self._context(component))
            self._made[key] = with_defaults(made, PROTOCOLS[self.choice(slot).kind])
        return self._made[key]

    def offering(self, slot: str, protocol: type[T]) -> T:
        """Return the first component of a slot's kind that implements an optional protocol; the recipe's own comes first.

        Raises:
            MissingDependency: none is installed.
        """
        own, kind = self.choice(slot).use, self.choice(slot).kind
        for name, component in sorted(self.registry.components(kind).items(), key=lambda found: found[0] != own):
            with suppress(MissingDependency, PluginError):
                if issubclass(component.implementation(), protocol):
                    return cast(T, self.get(slot, None if name == own else name))
        raise MissingDependency(f"No installed component of the kind {kind} is a {protocol.__name__}.")

    def speech_driver(self, name: str | None = None, options: Mapping[str, Any] | None = None) -> SpeechDriver:
        """Return a speech driver; without a name the one that avatarkit brings, or the first installed one.

        Raises:
            MissingDependency: none is installed.
        """
        return cast(SpeechDriver, self.outside_builds("speech", name, options))

    def outside_builds(self, kind: str, name: str | None = None, options: Mapping[str, Any] | None = None) -> Any:
        """Return a component of a kind without a slot; without a name one that avatarkit brings, then one without weights.

        Args:
            kind: ``speech`` or ``synthesizer``.
            name: of the component.
            options: of the component, instead of its defaults.

        Raises:
            MissingDependency: none is installed, or it lacks something.
        """
        found = self.registry.components(kind)
        if name is None:
            rank = {known: (not spec.plugin.bundled, bool(spec.needs.weights)) for known, spec in found.items()}
            name = min(found, key=lambda known: rank[known], default=None)
        if name is None:
            what = "driver" if kind == "speech" else kind
            raise MissingDependency(f"No speech {what} is installed; the plugin 'speech' of avatarkit has one.")
        key = f"{kind}:{name}:{sorted((options or {}).items())}"
        if key not in self._made:
            component = self.registry.get(kind, name)
            unmet = requirements(component, str(self.device), config=component.make_config(options or {}))
            if missing := [r.text for r in unmet if not r.met]:
                raise MissingDependency(f"{component.owner} needs {missing[0]}")
            self._note(component)
            self._made[key] = with_defaults(component.create(options or {}, self._context(component)), PROTOCOLS[kind])
        return self._made[key]

    def _obeyed(self, choice: Choice) -> Choice:
        """Return the choice without the options that are ignored here."""
        if not self.foreign or choice.use is None or not choice.options:
            return choice
        config = self.registry.get(choice.kind, choice.use).config_type()
        return choice if config is None else replace(choice, options=without_machine(config, choice.options))

    def _context(self, component: ComponentSpec) -> Context:
        """Return the context of one component, whose weights are found or named with their remedy."""
        return replace(self.context, weights=weights_finder(component))

    def _note(self, component: ComponentSpec) -> None:
        if component not in self._makers:
            self._makers.append(component)

    def loss(self, choice: LossChoice) -> Any:
        """Return a term of the objective."""
        if choice.slot not in self._made:
            if choice.use is not None:
                self._note(self.registry.get(choice.kind, choice.use))
            context = self._context(self.registry.get(choice.kind, choice.use)) if choice.use is not None else self.context
            self._made[choice.slot] = with_defaults(self.registry.create(self._obeyed(choice), context), Loss)
        return self._made[choice.slot]

    def close(self, *slots: str) -> None:
        """Release components; they are created again when they are needed.

        Args:
            slots: slots to release; none = all.
        """
        for key in [key for key in self._made if not slots or key.partition(":")[0] in slots]:
            closing = getattr(self._made.pop(key), "close", None)
            if callable(closing):
                closing()
        gc.collect()  # networks often lie in cycles
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @property
    def used(self) -> list[ComponentSpec]:
        """Components that were created, wrapped ones too."""
        return list(self._makers)

    def note(self, kind: str, name: str) -> None:
        """Count a component as used that an earlier run created."""
        with suppress(PluginError):
            self._note(self.registry.get(kind, name))

    def culprit(self, error: BaseException, slot: str) -> ComponentSpec:
        """Return the component whose code raised ``error``, else the one in ``slot``."""
        trace, modules = error.__traceback__, []
        while trace is not None:
            modules.append(str(trace.tb_frame.f_globals.get("__name__", "")))
            trace = trace.tb_next
        for module in reversed(modules):
            owners = [c for c in self._makers if c.target.partition(":")[0] == module]
            owners += [c for c in self._makers if c.target.partition(".")[0] == module.partition(".")[0] != "avatarkit"]
            if owners:
                return owners[0]
        return self.descriptor(slot)
