"""Tools for plugins that generate pseudo-labels: poses, driving pictures, mattes, checkpoints, diffusion pipelines.

``request``: the reference picture of a clip, and the requested poses as maps; ``pose_maps``: stick figures. ``pipelines``: strict
loading of diffusers pipelines, offloading. ``scratch``: tiles with their own seeds, resume inside a clip.
``wholebody``, ``poses``: the 133 points that a detector would find on a posed body. ``driving``: pictures of the person's own
head in other poses. ``frames``: from generated frames to a clip. ``checkpoints``: strict readers of third-party files.
"""

REVISION = 1
"""Raise it with every change of results: it is part of the keys of the stages that run this package."""
