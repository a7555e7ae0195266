"""The optimization: views, sampling and the loop."""

REVISION = 4
"""Raise it with every change of results: it is part of the keys of the stages that run this package."""
