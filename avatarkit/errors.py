"""The errors that avatarkit raises on purpose.

    AvatarkitError                 base; the command line prints it without a traceback
    ├── ConfigError                a recipe, option or flag is wrong
    ├── PluginError                a plugin is broken, missing or returns something invalid
    ├── MissingRequirement         something that the recipe needs is missing
    │   ├── MissingDependency      a Python module
    │   ├── MissingWeights         a checkpoint file
    │   └── MissingDevice          an accelerator
    ├── InputError                 the user's photo, video, motion or avatar cannot be used
    ├── StageError                 a stage of the pipeline failed; wraps an exception of a plugin
    └── StoreError                 reading or writing a cache or an avatar folder failed

A message says what is wrong, which file, option or plugin it concerns, and what to do.
"""

from __future__ import annotations

__all__ = [
    "AvatarkitError",
    "ConfigError",
    "InputError",
    "MissingDependency",
    "MissingDevice",
    "MissingRequirement",
    "MissingWeights",
    "PluginError",
    "StageError",
    "StoreError",
]


class AvatarkitError(Exception):
    """Base class of all errors.

    Attributes:
        exit_code: exit code of the command line; 2 means that the user can fix it.
    """

    exit_code = 2


class ConfigError(AvatarkitError):
    """A recipe, an option or a flag is wrong."""


class PluginError(AvatarkitError):
    """A plugin is broken, not installed, conflicts with another or returns something invalid."""


class MissingRequirement(AvatarkitError):
    """Something that the recipe needs is missing."""


class MissingDependency(MissingRequirement):
    """A Python module that a component needs is not installed."""


class MissingWeights(MissingRequirement):
    """A checkpoint file that a component needs is missing."""


class MissingDevice(MissingRequirement):
    """An accelerator that a component needs is missing."""


class InputError(AvatarkitError):
    """The user's photo, video, motion file or avatar cannot be used.

    Attributes:
        people: how many people the photo shows, where one of them must be chosen; else 0.
    """

    def __init__(self, message: str = "", people: int = 0) -> None:
        super().__init__(message)
        self.people = people


class StageError(AvatarkitError):
    """A stage of the pipeline failed for a reason that the user cannot fix.

    Raised ``from`` the original exception; the message names the stage and its component.

    Attributes:
        plugin: plugin that caused it; None = avatarkit itself.
    """

    exit_code = 1

    def __init__(self, message: str, plugin: str | None = None) -> None:
        super().__init__(message)
        self.plugin = plugin


class StoreError(AvatarkitError):
    """A cache or an avatar folder cannot be read or written."""
