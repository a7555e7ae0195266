"""Loads plugins, lists their components and creates components. Fast to import."""

from avatarkit.registry.registry import ENTRY_POINT_GROUP, KINDS, Registry
from avatarkit.registry.specs import Component, Plugin, Problem

__all__ = ["ENTRY_POINT_GROUP", "KINDS", "Component", "Plugin", "Problem", "Registry"]
