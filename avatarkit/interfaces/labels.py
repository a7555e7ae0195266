"""Stages 2 to 4: motions, and pictures of the person in them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

from avatarkit.types.body import Motion
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.subject import Subject

__all__ = ["MotionSource", "PseudoLabeler", "SpeechSource"]


@runtime_checkable
class MotionSource(Protocol):
    """Provides motions by name."""

    def names(self) -> tuple[str, ...]:
        """Return the names that ``motion`` accepts, in the order in which to list them."""

    def describe(self, name: str) -> str:
        """Return one line about a motion."""

    def motion(self, name: str) -> Motion:
        """Return one motion by name, for the build's body model.

        Raises:
            InputError: unknown motion.
        """

    def motions(self, count: int, seed: int) -> Iterable[Motion]:
        """Return ``count`` different motions for pseudo-labels."""


@runtime_checkable
class SpeechSource(Protocol):
    """A motion source that can also speak along with sound. Deprecated: register a ``SpeechDriver``."""

    def from_sound(self, path: Path, text: str = "") -> Motion:
        """Return a motion as long as a sound file; ``text`` is what is said, if known.

        Raises:
            InputError: the file cannot be read.
        """


@runtime_checkable
class PseudoLabeler(Protocol):
    """Generates pictures of the person in other poses (paper, eq. 6).

    Attributes:
        exact: whether the frames show exactly the requested poses, so that they need no re-tracking.
        regions: regions that it can generate; the build requests only these.
    """

    exact: bool = False
    regions: tuple[str, ...] = ("body", "head")

    def generate(self, subject: Subject, motion: Motion, seed: int) -> LabelClip:
        """Generate one clip for one motion.

        Args:
            subject: the tracked photo.
            motion: relative, see ``Motion``.
            seed: seed of this clip.
        """
