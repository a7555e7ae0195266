"""The speech driver whose mouth is a network of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from avatarkit.types.speech import Sound
from avatarkit_speech.audio_features import Voice
from avatarkit_speech.driver import PhonemeDriver
from avatarkit_speech.hearing import Phone
from avatarkit_speech.networks.onnx_network import NetworkMouth, SpeechNetwork

__all__ = ["OnnxDriver"]


class OnnxDriver(PhonemeDriver):
    """Implements ``SpeechDriver``: a network moves the mouth, visemes and body are those of ``phonemes``."""

    @cached_property
    def _network(self) -> SpeechNetwork:
        return SpeechNetwork(self._context.weights("speech-network"))

    def mouth(self, phones: Sequence[Phone], voice: Voice, sound: Sound) -> NetworkMouth:
        """Return what the network says."""
        return self._network.mouth(sound.samples, sound.rate, lambda done: self._context.progress("network", done))
