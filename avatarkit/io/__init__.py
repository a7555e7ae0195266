"""Readers and writers of photos, pictures, videos, sounds and cameras."""

REVISION = 1
"""Raise it with every change of results: it is part of the keys of the stages that run this package."""
