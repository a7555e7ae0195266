"""The interfaces that a plugin may implement: start here when you write one.

Each interface is a Protocol with one main method; its docstring is the contract. Tensors are float32 on the CPU unless an
argument says otherwise. Every component is deterministic: the same inputs, seed and device give the same numbers.

==================================  =====================================================================
``interfaces.subject``              stage 1: ``MattingModel, KeypointDetector, BodyModel, Tracker``
``interfaces.labels``               stages 2 to 4: ``MotionSource, SpeechSource, PseudoLabeler``
``interfaces.speech``               talking: ``SpeechDriver, SpeechSynthesizer``
``interfaces.avatar``               stage 5: ``AvatarModel, Exporter``
``interfaces.loss``                 its objective: ``Loss, PerceptualDistance``
``interfaces.renderer``             ``Renderer``, with ``GaussianRasterizer`` and ``MeshRasterizer``
``interfaces.context``              ``Context``: what every component is given
==================================  =====================================================================

Import all names from here. A component is created by calling its class with its config (a frozen dataclass) and a ``Context``::

    component = Class(config, context)

You may leave out members that have a default: ``with_defaults`` adds them when the core creates a component.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, TypeVar

from avatarkit.interfaces.avatar import AvatarModel, ColorTarget, Exporter, ParameterGroup, Posed, TensorSpec
from avatarkit.interfaces.context import Context, GetComponent
from avatarkit.interfaces.labels import MotionSource, PseudoLabeler, SpeechSource
from avatarkit.interfaces.loss import Loss, PerceptualDistance, TrainStep
from avatarkit.interfaces.renderer import GaussianRasterizer, MeshRasterizer, Renderer
from avatarkit.interfaces.speech import SpeechDriver, SpeechSynthesizer
from avatarkit.interfaces.subject import BodyModel, KeypointDetector, MattingModel, ShapePrior, Skeleton, Tracker
from avatarkit.types.camera import Camera as Camera  # plugins import these two from here, too
from avatarkit.types.subject import Subject as Subject
from avatarkit.utils.moved import former_names

__all__ = [
    "PROTOCOLS",
    "AvatarModel",
    "BodyModel",
    "ColorTarget",
    "Context",
    "Exporter",
    "GaussianRasterizer",
    "GetComponent",
    "KeypointDetector",
    "Loss",
    "MattingModel",
    "MeshRasterizer",
    "MotionSource",
    "ParameterGroup",
    "PerceptualDistance",
    "Posed",
    "PseudoLabeler",
    "Renderer",
    "ShapePrior",
    "Skeleton",
    "SpeechDriver",
    "SpeechSource",
    "SpeechSynthesizer",
    "TensorSpec",
    "Tracker",
    "TrainStep",
    "optional_members",
    "with_defaults",
]

T = TypeVar("T")

PROTOCOLS: dict[str, type] = {
    "matting": MattingModel,
    "keypoints": KeypointDetector,
    "body": BodyModel,
    "tracker": Tracker,
    "motions": MotionSource,
    "speech": SpeechDriver,
    "synthesizer": SpeechSynthesizer,
    "labels": PseudoLabeler,
    "avatar": AvatarModel,
    "loss": Loss,
    "renderer": Renderer,
    "exporter": Exporter,
}
"""Kind of component -> its interface."""

_DEFAULTS: dict[type, tuple[str, ...]] = {
    BodyModel: ("shape_prior",),
    PseudoLabeler: ("exact", "regions"),
    AvatarModel: ("pose_for_photo", "solve_colors", "specs"),
    Loss: ("applies_to", "for_evaluation", "of_avatar"),
}


def optional_members(protocol: type) -> tuple[str, ...]:
    """Return the names of the members that an implementation may leave out."""
    return _DEFAULTS.get(protocol, ())


def with_defaults(component: T, protocol: type) -> T:
    """Add the optional members that a component leaves out, in place, and return it."""
    for name in optional_members(protocol):
        if not hasattr(component, name):
            default = vars(protocol)[name]
            object.__setattr__(component, name, default.__get__(component) if inspect.isfunction(default) else default)
    return component


if not TYPE_CHECKING:
    __getattr__ = former_names(__name__, {"Matter": "MattingModel"})
