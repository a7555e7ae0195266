"""avatarkit: one photo in, an animatable, talking, gesturing 3D avatar out.

::

    import avatarkit

    path = avatarkit.build("ada.jpg", preset="draft")
    avatar = avatarkit.load(path)
    avatar.picture(yaw=20).save("side.png")  # notebooks show it, and the avatar itself

The names below are the public ones. Each is imported on first use, so that ``import avatarkit`` does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from avatarkit.utils.moved import install_aliases

if TYPE_CHECKING:
    from avatarkit.animation import LoadedAvatar, load
    from avatarkit.components import Components
    from avatarkit.config import Recipe, presets
    from avatarkit.errors import (
        AvatarkitError,
        ConfigError,
        InputError,
        MissingDependency,
        MissingDevice,
        MissingRequirement,
        MissingWeights,
        PluginError,
        StageError,
        StoreError,
    )
    from avatarkit.evaluation import evaluate
    from avatarkit.hookspecs import Cost, License, Needs, Weights, hookimpl
    from avatarkit.interfaces import Context
    from avatarkit.io.photo import read_photo
    from avatarkit.pipeline.build import build
    from avatarkit.registry import Registry
    from avatarkit.registry.specs import ComponentSpec
    from avatarkit.storage.bundle import read_bundle, read_manifest
    from avatarkit.tracking import track_file
    from avatarkit.training.callbacks import TensorBoardLogger, TrainingCallback
    from avatarkit.types.body import BodyParams, Motion
    from avatarkit.types.camera import Camera
    from avatarkit.types.frames import Frame
    from avatarkit.types.gaussians import Gaussians
    from avatarkit.types.keypoints import Keypoints
    from avatarkit.types.mesh import Mesh
    from avatarkit.types.photo import Photo
    from avatarkit.types.pseudo_labels import LabelClip
    from avatarkit.types.subject import Matte, Subject
    from avatarkit.utils.progress import Progress

__version__ = "0.1.0"

_HOMES: dict[str, str] = {
    "AvatarkitError": "errors",
    "BodyParams": "types.body",
    "Camera": "types.camera",
    "ComponentSpec": "registry.specs",
    "Components": "components",
    "ConfigError": "errors",
    "Context": "interfaces",
    "Cost": "hookspecs",
    "Frame": "types.frames",
    "Gaussians": "types.gaussians",
    "InputError": "errors",
    "Keypoints": "types.keypoints",
    "LabelClip": "types.pseudo_labels",
    "License": "hookspecs",
    "LoadedAvatar": "animation",
    "Matte": "types.subject",
    "Mesh": "types.mesh",
    "MissingDependency": "errors",
    "MissingDevice": "errors",
    "MissingRequirement": "errors",
    "MissingWeights": "errors",
    "Motion": "types.body",
    "Needs": "hookspecs",
    "Photo": "types.photo",
    "PluginError": "errors",
    "Progress": "utils.progress",
    "Recipe": "config",
    "Registry": "registry",
    "StageError": "errors",
    "StoreError": "errors",
    "Subject": "types.subject",
    "TensorBoardLogger": "training.callbacks",
    "TrainingCallback": "training.callbacks",
    "Weights": "hookspecs",
    "build": "pipeline.build",
    "evaluate": "evaluation",
    "hookimpl": "hookspecs",
    "load": "animation",
    "presets": "config",
    "read_bundle": "storage.bundle",
    "read_manifest": "storage.bundle",
    "read_photo": "io.photo",
    "track_file": "tracking",
}
"""Public name -> module that defines it."""

_DEPRECATED: dict[str, tuple[str, str, str]] = {
    "Component": ("ComponentSpec", "0.1", "0.3"),
    "Licence": ("License", "0.1", "0.3"),
}
"""Former public name -> (new name, deprecated since, removed in); see docs/plugins/publishing.md."""

__all__ = [
    "AvatarkitError",
    "BodyParams",
    "Camera",
    "ComponentSpec",
    "Components",
    "ConfigError",
    "Context",
    "Cost",
    "Frame",
    "Gaussians",
    "InputError",
    "Keypoints",
    "LabelClip",
    "License",
    "LoadedAvatar",
    "Matte",
    "Mesh",
    "MissingDependency",
    "MissingDevice",
    "MissingRequirement",
    "MissingWeights",
    "Motion",
    "Needs",
    "Photo",
    "PluginError",
    "Progress",
    "Recipe",
    "Registry",
    "StageError",
    "StoreError",
    "Subject",
    "TensorBoardLogger",
    "TrainingCallback",
    "Weights",
    "__version__",
    "build",
    "evaluate",
    "hookimpl",
    "load",
    "presets",
    "read_bundle",
    "read_manifest",
    "read_photo",
    "track_file",
]


install_aliases()


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name in _DEPRECATED:
        import warnings

        now, since, until = _DEPRECATED[name]
        text = f"avatarkit.{name} was renamed to avatarkit.{now} in {since}; the old name is removed in {until}."
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(__name__), now)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"avatarkit.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
