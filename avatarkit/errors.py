"""Every error that avatarkit raises on purpose.

::

    AvatarkitError                 base; the CLI prints it without a traceback
    ├── ConfigError                a recipe, option or flag is wrong
    ├── PluginError                a plugin is broken, missing or answers wrongly
    ├── MissingRequirement         something that the recipe needs is not there
    │   ├── MissingDependency      a Python module
    │   ├── MissingWeights         a checkpoint file
    │   └── MissingDevice          an accelerator
    ├── InputError                 the user's photo, video, motion or avatar cannot be used
    ├── StageError                 a stage of the pipeline failed; wraps a plugin's foreign exception
    └── StoreError                 reading or writing a cache or an avatar folder failed

A message says what is wrong, whose it is, and what to do.
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
    """Base of the tree.

    Attributes:
        exit_code: what the command line returns for it; 2 means that the user can mend it.
    """

    exit_code = 2


class ConfigError(AvatarkitError):
    """A recipe, an option or a flag is wrong."""


class PluginError(AvatarkitError):
    """A plugin is broken, is not installed, clashes with another or answers wrongly."""


class MissingRequirement(AvatarkitError):
    """Something that the recipe needs is not there."""


class MissingDependency(MissingRequirement):
    """A Python module that a component needs is not installed."""


class MissingWeights(MissingRequirement):
    """A checkpoint file that a component needs is not there."""


class MissingDevice(MissingRequirement):
    """An accelerator that a component needs is not there."""


class InputError(AvatarkitError):
    """The user's photo, video, motion file or avatar cannot be used."""


class StageError(AvatarkitError):
    """A stage of the pipeline failed for a reason that the user cannot mend.

    Raised ``from`` the foreign exception, naming the stage and the component that owns it.

    Attributes:
        plugin: whose fault it is, where it is not avatarkit's own.
    """

    exit_code = 1

    def __init__(self, message: str, plugin: str | None = None) -> None:
        super().__init__(message)
        self.plugin = plugin


class StoreError(AvatarkitError):
    """A cache or an avatar folder cannot be read or written."""
