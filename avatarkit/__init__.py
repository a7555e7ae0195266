"""avatarkit: one photo in, an animatable, talking, gesturing 3D avatar out."""

__version__ = "0.1.0"
