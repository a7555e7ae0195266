"""Recipes, and the options of components."""
