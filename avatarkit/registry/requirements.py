"""Requirements of components, checked without importing anything. Fast to import."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from avatarkit.errors import MissingWeights
from avatarkit.utils.paths import find_weights

if TYPE_CHECKING:
    from avatarkit.registry import ComponentSpec

__all__ = ["ChecksItself", "Requirement", "module_present", "requirements", "weights_finder"]


@runtime_checkable
class ChecksItself(Protocol):
    """A component's config that has requirements of its own."""

    def preflight(self) -> list[str]:
        """Return one sentence for each missing requirement; called before any stage runs."""
        ...


@dataclass(frozen=True)
class Requirement:
    """Something that a component needs.

    Attributes:
        kind: kind of thing; ``setup`` is a requirement of the component's config.
        name: name of the module, the weights or the device.
        met: whether it is available.
        remedy: command or change that provides it.
    """

    kind: Literal["module", "weights", "device", "setup"]
    name: str
    met: bool
    remedy: str

    @property
    def text(self) -> str:
        """What is missing and how to get it: ``the weights 'x': avatarkit weights add ...``."""
        return self.remedy if self.kind == "setup" else f"the {self.kind} {self.name!r}: {self.remedy}"


def requirements(
    component: ComponentSpec, device: str | None = None, options: Mapping[str, Any] | None = None, config: Any = None
) -> tuple[Requirement, ...]:
    """Return the requirements of a component, each met or not.

    Args:
        component: its descriptor.
        device: ``cpu`` or ``cuda``; None leaves the device out.
        options: options of the component; if one names an existing file or folder, the user brings their own weights and
            the component checks them itself.
        config: config of the component; a ``ChecksItself`` adds sentences about what is missing.
    """
    found = [Requirement("module", name, module_present(name), component.install_hint(name)) for name in component.needs.modules]
    own = any(isinstance(v, (str, Path)) and str(v) and Path(v).exists() for v in (options or {}).values())
    about = {weights.name: weights for weights in component.needs.sources}
    for name in component.needs.weights:
        terms = about[name].license if name in about else component.license.weights
        command = f"fetch {name}" if name in about and about[name].repository else f"add {name} FILE"
        remedy = f"avatarkit weights {command} (license: {terms})"
        found.append(Requirement("weights", name, own or find_weights(name) is not None, remedy))
    if component.needs.device is not None and device is not None:
        remedy = f"there is none here; choose another {component.kind} component (avatarkit plugins list), or another machine"
        found.append(Requirement("device", component.needs.device, device == component.needs.device, remedy))
    if isinstance(config, ChecksItself) and all(requirement.met for requirement in found if requirement.kind != "device"):
        sentences = component.of_config(lambda: _sentences(config.preflight()))
        found += [Requirement("setup", component.name, False, sentence) for sentence in sentences]
    return tuple(found)


def _sentences(value: Any) -> list[str]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(sentence, str) for sentence in value):
        raise TypeError(f"preflight() must return a list of sentences, not {type(value).__name__}")
    return list(value)


def weights_finder(component: ComponentSpec) -> Callable[[str], Path]:
    """Return the function ``Context.weights`` of one component: it finds the weights that the component declares.

    It raises ``MissingWeights`` with the remedy if they are missing. Undeclared weights are refused even if they are there: no
    key of a stage would know their content.
    """

    def weights(name: str) -> Path:
        if name not in component.needs.weights:
            declare = f"Name them in Needs(weights=({name!r},)) where it is registered"
            raise MissingWeights(f"{component.owner} asks for the weights {name!r}, which it does not declare. {declare}.")
        if (found := find_weights(name)) is not None:
            return found
        missing = next(r.text for r in requirements(component) if (r.kind, r.name) == ("weights", name))
        raise MissingWeights(f"{component.owner} needs {missing}")

    return weights


def module_present(name: str) -> bool:
    """Return whether a module can be found, without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError, AttributeError):
        return False
