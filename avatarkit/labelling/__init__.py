"""Tools for plugins that generate pseudo-labels: poses, driving pictures, mattes, checkpoints.

``wholebody``, ``poses``: the 133 points that a detector would find on a posed body. ``driving``: pictures of the person's own
head in other poses. ``frames``: from generated frames to a clip. ``checkpoints``: strict readers of third-party files.
"""

REVISION = 1
"""Raise it with every change of results: it is part of the keys of the stages that run this package."""
