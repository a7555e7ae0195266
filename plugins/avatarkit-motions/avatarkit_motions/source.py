"""The built-in motions as a ``MotionSource``."""

from __future__ import annotations

import difflib
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from avatarkit.errors import InputError
from avatarkit.interfaces import Context
from avatarkit.motion.performance.face import EXPRESSIONS
from avatarkit.motion.performance.performance import Performance
from avatarkit.motion.pose_solver import PoseSolver
from avatarkit.types.body import Motion
from avatarkit.utils.paths import expand
from avatarkit.utils.threads import single_threaded
from avatarkit_motions.clips import CLIPS, GESTURES, PHRASES, Stage, expressions, talk
from avatarkit_motions.config import BuiltinConfig
from avatarkit_motions.segments import heading

__all__ = ["BuiltinMotions", "given_folder"]

_LABEL_KINDS = ("talk", "talk", "talk", "expressions", "count", "talk", "turn", "talk", "look", "wave", "shrug")


class BuiltinMotions:
    """Implements ``MotionSource``.

    A named motion is the same in every build; ``motions`` differ with their seed.
    """

    def __init__(self, config: BuiltinConfig, context: Context) -> None:
        self.config, self._context = config, context

    @cached_property
    def _solver(self) -> PoseSolver:
        return PoseSolver(self._context.get("body"))

    def names(self) -> tuple[str, ...]:
        """Return the names, ``idle`` first, then the most expressive motions."""
        return tuple(CLIPS)

    def describe(self, name: str) -> str:
        """Return one line about a motion.

        Raises:
            InputError: no such motion.
        """
        return CLIPS[self._known(name)].about

    @single_threaded()
    def motion(self, name: str) -> Motion:
        """Return one motion by name; it runs into its own beginning.

        Raises:
            InputError: no such motion.
        """
        stage = self._stage(zlib.crc32(self._known(name).encode()))
        return CLIPS[name].make(stage).motion(name, self._solver)

    def motions(self, count: int, seed: int) -> Iterator[Motion]:
        """Yield segments to make labels from: talking people first, mirrored at random, each with its own size and heading.

        The paper (section 3.2) turns the root of each segment by a random pitch and yaw; the ranges are options.

        Args:
            count: of motions.
            seed: the same seed gives the same motions, and a larger count only adds some.
        """
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            kind = _LABEL_KINDS[number % len(_LABEL_KINDS)]
            p = self._label(kind, rng)
            length = min(len(p.t), round(self.config.label_seconds * self.config.fps))
            whole = length == len(p.t)
            p = p.excerpt(0 if whole else int(rng.integers(0, len(p.t))), length)
            if rng.random() < 0.5:
                p = p.mirrored()
            with single_threaded():  # small tensors: torch's threads would mostly wait for each other
                made = p.motion(f"{kind}-{number:03d}", self._solver, heading(self.config, rng), loop=whole)
            yield made

    def _label(self, kind: str, rng: np.random.Generator) -> Performance:
        stage = Stage(self.config.fps, rng, self.config.liveliness * float(rng.uniform(0.75, 1.25)))
        if kind == "talk":
            gestures = rng.choice(GESTURES, (4, 2))
            same = rng.random(4) < 0.55  # both hands often do the same
            plan = [(str(a), str(a if alike else b)) for (a, b), alike in zip(gestures, same, strict=True)]
            text = " . ".join(PHRASES[i] for i in rng.permutation(len(PHRASES))[:2])
            under = str(rng.choice(("friendly", "friendly", "smile", "doubt")))
            return talk(stage, text, plan, expression=under, rate=float(rng.uniform(0.85, 1.1)))
        if kind == "expressions":
            return expressions(stage, [str(n) for n in rng.permutation(list(EXPRESSIONS))[:3]])
        return CLIPS[kind].make(stage)

    def _stage(self, seed: int) -> Stage:
        return Stage(self.config.fps, np.random.default_rng(seed), self.config.liveliness)

    def _known(self, name: str) -> str:
        if name not in CLIPS:
            near = difflib.get_close_matches(name, CLIPS, 1)
            hint = f"did you mean {near[0]!r}?" if near else "there are: " + ", ".join(CLIPS) + "."
            raise InputError(f"There is no built-in motion {name!r}; {hint}")
        return name


def given_folder(path: str, what: str) -> Path:
    """Return the folder that the option ``motions.path`` names.

    Raises:
        InputError: none is named, or it is not there.
    """
    if not path:
        raise InputError(f"The folder of {what} is missing: --set motions.path=FOLDER")
    folder = expand(path)
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}, which motions.path names.")
    return folder
