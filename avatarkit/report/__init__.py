"""The report page, pictures and videos of an avatar."""

REVISION = 2
"""Raise it with every change of results: it is part of the keys of the stages that run this package."""
