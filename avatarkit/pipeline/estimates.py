"""Memory and time of a build before it starts, from figures that its components state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avatarkit.config import Recipe
from avatarkit.hookspecs import Cost
from avatarkit.utils.text import duration

if TYPE_CHECKING:
    from avatarkit.registry import ComponentSpec

__all__ = ["Estimate", "estimates"]

_SEGMENT_SECONDS = 4.0  # longest motion of a clip, if the motion source does not say
_VIEW = 640  # pixels; training costs are stated for a square view of this side


@dataclass(frozen=True)
class Estimate:
    """Memory and time of one heavy step.

    Attributes:
        slot: slot of the recipe.
        owner: the component.
        work: amount of work, readable.
        seconds: total time; None = unknown.
        memory_gb: peak memory of ``device``; None = unknown.
        device: device for which the figures hold.
        here: whether the build uses that device.
        source: where the figures come from, and the hardware.
    """

    slot: str
    owner: str
    work: str
    seconds: float | None
    memory_gb: float | None
    device: str
    here: bool
    source: str

    @property
    def text(self) -> str:
        """The estimate on one line."""
        time = "time unknown" if self.seconds is None else f"about {duration(self.seconds)}"
        memory = "" if self.memory_gb is None else f", {self.memory_gb:g} GB of {'GPU ' * (self.device == 'cuda')}memory"
        elsewhere = "" if self.here else f"; measured on {self.device}, much slower on this device"
        return f"{self.slot} ({self.work}): {time}{memory} ({self.source}){elsewhere}"


def estimates(
    recipe: Recipe, components: Mapping[str, ComponentSpec | None], configs: Mapping[str, Mapping[str, Any]], device: str
) -> tuple[Estimate, ...]:
    """Return the estimates of a recipe's heavy steps.

    Args:
        recipe: numbers of clips and steps.
        components: slot -> its component.
        configs: slot -> its complete options.
        device: ``cpu`` or ``cuda``, device of the build.
    """
    labels, training = recipe.resolved("labels"), recipe.resolved("training")
    seconds = float(configs.get("motions", {}).get("label_seconds", _SEGMENT_SECONDS))
    found = []
    for slot, clips in (("body_labels", labels.body_clips), ("head_labels", labels.head_clips)):
        component, config = components.get(slot), configs.get(slot, {})
        if component is None or not clips or (cost := _cost(component.needs.costs, device)) is None:
            continue
        frames = int(config.get("frames") or round(float(config.get("fps", 15.0)) * seconds))
        time = None if cost.seconds_per_frame is None else cost.seconds_per_frame * frames * clips
        work = f"{clips} clips of up to {frames} frames"
        found.append(_estimate(slot, component, work, time, cost, device))
    renderer = components.get("renderer")
    if renderer is not None and training.steps and (cost := _cost(renderer.needs.costs, device)) is not None:
        pixels = (training.resolution / _VIEW) ** 2
        time = None if cost.seconds_per_step is None else cost.seconds_per_step * training.steps * training.views * pixels
        found.append(_estimate("training", renderer, f"{training.steps} steps", time, cost, device))
    return tuple(found)


def _cost(costs: Sequence[Cost], device: str) -> Cost | None:
    """Return the figures for a device, or for another one if there are none."""
    return next((cost for cost in costs if cost.device == device), costs[0] if costs else None)


def _estimate(slot: str, component: ComponentSpec, work: str, seconds: float | None, cost: Cost, device: str) -> Estimate:
    here = cost.device == device
    return Estimate(slot, component.owner, work, seconds, cost.memory_gb, cost.device, here, cost.source)
