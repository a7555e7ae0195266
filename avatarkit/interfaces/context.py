"""What a component is given besides its config, and how it finds other components."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

import torch

from avatarkit.errors import MissingWeights
from avatarkit.utils.paths import cache_folder, find_weights

if TYPE_CHECKING:
    from avatarkit.interfaces.avatar import AvatarModel
    from avatarkit.interfaces.labels import MotionSource, PseudoLabeler
    from avatarkit.interfaces.loss import Loss
    from avatarkit.interfaces.renderer import Renderer
    from avatarkit.interfaces.subject import BodyModel, KeypointDetector, MattingModel, Tracker

__all__ = ["Context", "GetComponent", "require_weights"]


def _silent(message: str, fraction: float | None = None) -> None:
    """Ignore a progress report."""


class GetComponent(Protocol):
    """A function that returns another component of the build, by slot of the recipe.

    Plugins use each other's components through it and never import each other.
    """

    @overload
    def __call__(self, kind: Literal["matting"], name: str | None = None) -> MattingModel: ...
    @overload
    def __call__(self, kind: Literal["keypoints"], name: str | None = None) -> KeypointDetector: ...
    @overload
    def __call__(self, kind: Literal["body"], name: str | None = None) -> BodyModel: ...
    @overload
    def __call__(self, kind: Literal["tracker"], name: str | None = None) -> Tracker: ...
    @overload
    def __call__(self, kind: Literal["motions"], name: str | None = None) -> MotionSource: ...
    @overload
    def __call__(self, kind: Literal["body_labels", "head_labels"], name: str | None = None) -> PseudoLabeler: ...
    @overload
    def __call__(self, kind: Literal["avatar"], name: str | None = None) -> AvatarModel: ...
    @overload
    def __call__(self, kind: Literal["perceptual"], name: str | None = None) -> Loss: ...
    @overload
    def __call__(self, kind: Literal["renderer"], name: str | None = None) -> Renderer: ...
    @overload
    def __call__(self, kind: str, name: str | None = None) -> Any: ...


def _nothing(kind: str, name: str | None = None) -> Any:
    """Return None: the default of ``Context.get`` outside a build."""
    return None


def require_weights(name: str) -> Path:
    """Return the file or folder of weights that ``avatarkit weights`` knows by this name.

    Raises:
        MissingWeights: there are none.
    """
    found = find_weights(name)
    if found is None:
        raise MissingWeights(
            f"There are no weights {name!r}. Name them in Needs(weights=({name!r},)) of the component that uses them, and get "
            f"them with avatarkit weights fetch {name} or avatarkit weights add {name} FILE."
        )
    return found


@dataclass(frozen=True)
class Context:
    """What the core passes to every component besides its config.

    Attributes:
        device: device for large tensors.
        seed: seed of the build; derive generators from it and leave the global generator alone.
        cache: folder for files that are made once per user (a body model's tables); it may not exist yet.
        get: ``get(kind, name=None)`` returns another component of this build, by slot of the recipe: ``get("body")``,
            ``get("renderer")``; with ``name``, another component of the slot's kind with default options.
        progress: ``progress(message, fraction)`` tells the user what is being done; ``fraction`` is 0 to 1 or None.
        weights: ``weights(name)`` returns the file or folder of weights that the component names in ``Needs(weights=...)``. If
            they are missing, it raises ``MissingWeights`` with the command that gets them and their license.
        scratch: folder for unfinished work that shows the person, inside the avatar that is built, so that it is erased with it;
            None outside a build. ``labelling.scratch.scratch_folder`` says where to write then.
    """

    device: torch.device = torch.device("cpu")
    seed: int = 0
    cache: Path = field(default_factory=cache_folder)
    get: GetComponent = field(default=_nothing)
    progress: Callable[..., None] = field(default=_silent)
    weights: Callable[[str], Path] = field(default=require_weights)
    scratch: Path | None = None
