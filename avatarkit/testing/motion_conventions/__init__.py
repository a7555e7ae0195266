"""Writes one motion in every convention of motion files: axes, units, rotation orders, names, rests, channels, encodings."""

from avatarkit.testing.motion_conventions.bvh_writer import bvh
from avatarkit.testing.motion_conventions.clip import FINGERS, JOINTS, OFFSETS, SIDES, Clip, make_clip
from avatarkit.testing.motion_conventions.convention import AXES, ORDERS, Convention
from avatarkit.testing.motion_conventions.figure import Figure, apart, world_rotations
from avatarkit.testing.motion_conventions.gltf_writer import glb
from avatarkit.testing.motion_conventions.rigs import PREFIXED, RIGS, rig_names, vrm_bone
from avatarkit.testing.motion_conventions.smpl import encode, smpl_arrays

__all__ = [
    "AXES",
    "FINGERS",
    "JOINTS",
    "OFFSETS",
    "ORDERS",
    "PREFIXED",
    "RIGS",
    "SIDES",
    "Clip",
    "Convention",
    "Figure",
    "apart",
    "bvh",
    "encode",
    "glb",
    "make_clip",
    "rig_names",
    "smpl_arrays",
    "vrm_bone",
    "world_rotations",
]
