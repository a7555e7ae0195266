"""Plays a finished avatar: cameras, placement of motions, rendering of frames."""

from avatarkit.animation.avatar import Animation, LoadedAvatar
from avatarkit.animation.cameras import follow, frame_window
from avatarkit.animation.loader import assemble, load
from avatarkit.animation.placement import place

__all__ = ["REVISION", "Animation", "LoadedAvatar", "assemble", "follow", "frame_window", "load", "place"]

REVISION = 2
"""Raise it with every change of results: it is part of the keys of the stages that play an avatar."""
