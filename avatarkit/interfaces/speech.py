"""Talking: ``SpeechDriver`` along with sound, ``SpeechSynthesizer`` from text to sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from avatarkit.types.body import Motion
from avatarkit.types.speech import Cue, Sound, Viseme

__all__ = ["SpeechDriver", "SpeechSynthesizer"]


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


@runtime_checkable
class SpeechSynthesizer(Protocol):
    """Says a text, for ``avatarkit talk``."""

    def voices(self) -> Mapping[str, str]:
        """Return name of a voice -> its language (BCP 47, such as ``en-us``); the first is the default."""

    def synthesize(self, text: str, voice: str | None = None) -> Sound:
        """Return a recording of a text, at the synthesizer's own rate.

        Text is data: no markup in it is obeyed. What has no sound, such as punctuation alone, gives a short silence or none.

        Args:
            text: what to say.
            voice: one of ``voices``; None = the first.

        Raises:
            InputError: there is no such voice.
            MissingDependency: a program that it calls is not on this machine.
        """
