"""Loads plugins, lists their components and creates components. Fast to import."""

from typing import TYPE_CHECKING

from avatarkit.registry.registry import ENTRY_POINT_GROUP, KINDS, Registry
from avatarkit.registry.specs import ComponentSpec, Plugin, Problem
from avatarkit.utils.moved import former_names

__all__ = ["ENTRY_POINT_GROUP", "KINDS", "ComponentSpec", "Plugin", "Problem", "Registry"]

if not TYPE_CHECKING:
    __getattr__ = former_names(__name__, {"Component": "ComponentSpec"})
