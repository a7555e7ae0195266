"""What a photo shows of a person, and what is painted where it shows nothing."""

REVISION = 15
"""Raise it with every change of results: it is part of the keys of the stages that run this package."""
