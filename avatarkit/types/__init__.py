"""The values that stages exchange: frozen dataclasses with the shape of every field."""

REVISION = 1
"""Raise it with every change of results: it is part of the keys of the stages that run this package."""
