"""The former name of ``simd``: the index of kernels that an earlier version compiled names its types, and must still load."""

from __future__ import annotations

from avatarkit_cpu.simd import Lanes, Mask

__all__ = ["Lanes", "Mask"]
