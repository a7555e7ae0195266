"""Finds plugins, asks them what they offer, and makes components. Light to import."""

from avatarkit.registry.registry import ENTRY_POINT_GROUP, KINDS, Registry
from avatarkit.registry.specs import Component, Plugin, Problem

__all__ = ["ENTRY_POINT_GROUP", "KINDS", "Component", "Plugin", "Problem", "Registry"]
