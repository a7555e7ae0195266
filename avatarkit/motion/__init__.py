"""Motion files of all kinds, and how they are carried over to a body model."""

REVISION = 1
"""Raise it with every change of results: it is part of the keys of the stages that run this package."""
