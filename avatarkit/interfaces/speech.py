"""Talking along with sound: ``SpeechDriver``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from avatarkit.types.body import Motion
from avatarkit.types.speech import Cue, Sound, Viseme

__all__ = ["SpeechDriver"]


@runtime_checkable
class SpeechDriver(Protocol):
    """Makes a person talk along with sound, for ``animate --audio``."""

    def drive(
        self, sound: Sound, text: str | Sequence[Cue] | None = None, fps: float = 30.0, seed: int = 0, style: str = "lively"
    ) -> tuple[Sequence[Viseme], Motion]:
        """Return the mouth shapes of a voice, and a motion of the whole body.

        Sound without a voice, and text that is not what is said, are no errors: the mouth stays shut, or follows the sound alone.

        Args:
            sound: a recording.
            text: what is said, as a whole or with the times of its lines; None = not known.
            fps: frames per second of the motion.
            seed: the same seed gives the same motion.
            style: ``calm`` or ``lively``, how much arms, head and face move.

        Returns:
            Mouth shapes in order, without overlap and within the sound; what is between them is silence. The motion is for
            ``context.get("body")``, relative, see ``Motion``, and as long as the sound to the frame.
        """
        ...
