"""Motion files of all formats, and retargeting to a body model."""

REVISION = 3
"""Raise it with every change of results: it is part of the keys of the stages that run this package."""
