"""Recipes, and the options of components. Fast to import."""

from avatarkit.config.recipe import OPTIONAL_SLOTS, SECTIONS, SLOTS, Choice, LossChoice, Recipe, presets, require_slot

__all__ = ["OPTIONAL_SLOTS", "SECTIONS", "SLOTS", "Choice", "LossChoice", "Recipe", "presets", "require_slot"]
