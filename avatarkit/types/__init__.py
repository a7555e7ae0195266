"""The values that flow from stage to stage: frozen dataclasses with the shape beside every field."""

REVISION = 1
"""Raise it with every change of results: it is part of the keys of the stages that run this package."""
