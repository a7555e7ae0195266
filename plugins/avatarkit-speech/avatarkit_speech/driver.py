"""The default speech driver: sounds by PocketSphinx, a voice by Silero, and a body that talks along."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch

from avatarkit.errors import InputError
from avatarkit.interfaces import Context
from avatarkit.io.audio import resample
from avatarkit.motion.performance.performance import Performance
from avatarkit.motion.pose_solver import PoseSolver
from avatarkit.types.body import BodyParams, Motion
from avatarkit.types.speech import Cue, Sound, Viseme
from avatarkit.utils.threads import single_threaded
from avatarkit_speech.audio_features import RATE, Voice, listen
from avatarkit_speech.config import SpeechConfig
from avatarkit_speech.gestures import BodyPlan, plan
from avatarkit_speech.hearing import Phone
from avatarkit_speech.loudness import normalize_loudness
from avatarkit_speech.mouth import Mouth
from avatarkit_speech.prosody import stresses
from avatarkit_speech.transcript import log, transcribe
from avatarkit_speech.visemes import timed_visemes

__all__ = ["MovingMouth", "PhonemeDriver"]

_PART = 600  # frames posed at once, so that memory does not grow with the sound
_EDGE = 1.5  # seconds around a part that smooth curves need


class MovingMouth(Protocol):
    """The mouth of one recording."""

    def actions(self, t: np.ndarray, fps: float) -> dict[str, np.ndarray]:
        """Return facial actions -> (T,), 0 to 1, at evenly spaced moments (T,), seconds."""


class PhonemeDriver:
    """Implements ``SpeechDriver``."""

    def __init__(self, config: SpeechConfig, context: Context) -> None:
        self.config, self._context = config, context

    @cached_property
    def _solver(self) -> PoseSolver:
        return PoseSolver(self._context.get("body"))

    def drive(
        self, sound: Sound, text: str | Sequence[Cue] | None = None, fps: float = 30.0, seed: int = 0, style: str = "lively"
    ) -> tuple[Sequence[Viseme], Motion]:
        """See ``SpeechDriver``."""
        if not sound.samples.size:
            raise InputError(f"{sound.name} holds no sound.")
        samples = normalize_loudness(resample(sound.samples, sound.rate, RATE), RATE)
        voice = listen(samples)
        if not voice.phrases:
            log.warning("No speech was heard in %s: the mouth stays shut.", sound.name)
        transcript = transcribe(samples, voice, text, sound.name, lambda done: self._context.progress("listening", done))
        found = stresses(voice, transcript)
        own = zlib.crc32(np.ascontiguousarray(sound.samples).tobytes())
        body = plan(sound.seconds, voice.phrases, found, _mixed(seed, own), style)
        body.style = replace(body.style, size=self.config.gestures * body.style.size)
        mouth = self.mouth(transcript.phones, voice, sound)
        with single_threaded():  # sums come out the same on any number of threads
            return timed_visemes(transcript.phones, voice), self._motion(sound, fps, mouth, body)

    def mouth(self, phones: Sequence[Phone], voice: Voice, sound: Sound) -> MovingMouth:
        """Return what moves the mouth, from what is heard."""
        return Mouth(phones, voice)

    def _motion(self, sound: Sound, fps: float, mouth: MovingMouth, body: BodyPlan) -> Motion:
        count = max(2, round(sound.seconds * fps))
        edge = int(np.ceil(_EDGE * fps))
        parts = []
        for first in range(0, count, _PART):
            length = min(_PART, count - first)
            p = Performance((length + 2 * edge) / fps, fps)
            p.t = np.arange(first - edge, first + length + edge) / fps
            p.period = sound.seconds + 1000.0  # nothing comes round again
            body.perform(p)
            for name, curve in mouth.actions(p.t, fps).items():
                p.add(name, curve * (self.config.mouth if name == "jawOpen" else 1.0))
            parts.append(p.excerpt(edge, length).motion(sound.name, self._solver, loop=False).params)
        moving = {
            name: torch.cat([getattr(part, name) for part in parts]) for name in ("expression", "root", "translation", "joints")
        }
        return Motion(sound.name, fps, BodyParams(parts[0].model, parts[0].shape, **moving))


def _mixed(seed: int, own: int) -> int:
    """Return a seed for a recording, so that two recordings do not move alike."""
    return int(np.random.SeedSequence([seed, own]).generate_state(1)[0])
