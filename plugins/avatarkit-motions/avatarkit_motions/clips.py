"""The built-in performances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from avatarkit.motion.performance.curves import blend, bump, keys, noise
from avatarkit.motion.performance.face import (
    Sounds,
    add_blinks,
    add_expression,
    add_glances,
    follow_gaze_with_lids,
    speak,
)
from avatarkit.motion.performance.gestures import POSES, ArmKey, beat, keep_hands_apart, move_arm, tremble
from avatarkit.motion.performance.hands import SHAPES
from avatarkit.motion.performance.performance import Performance

__all__ = ["CLIPS", "GESTURES", "PHRASES", "Clip", "Stage", "expressions", "perform", "talk"]


@dataclass(frozen=True)
class Stage:
    """How a performance is made.

    Attributes:
        fps: frames per second.
        rng: where variety comes from.
        liveliness: 0 to 1.5.
    """

    fps: float
    rng: np.random.Generator
    liveliness: float = 1.0


def stand(stage: Stage, seconds: float, arms: Mapping[str, Sequence[ArmKey]] | None = None, gaze: float = 1.0) -> Performance:
    """Return a person who stands, breathes and sways a little.

    The arms follow their keys, or hang down.
    """
    p, rng, k = Performance(seconds, stage.fps), stage.rng, stage.liveliness
    for side, points in (arms or {}).items():
        move_arm(p, side, points)
    breaths = max(1, round(p.period / 3.6))
    breath = np.sin(2 * np.pi * breaths * p.t / p.period - 1.2)
    p.add("spine.pitch", -0.5 * breath)
    for side in ("left", "right"):
        p.add(f"{side}.shrug", 0.05 + 0.05 * breath)
        tremble(p, side, rng, k)
    p.add("head.pitch", 0.4 * breath)
    for name, size in (
        ("root.x", 0.008), ("root.z", 0.004), ("root.yaw", 0.8), ("root.roll", 0.5),
        ("spine.yaw", 1.0), ("spine.roll", 0.7), ("spine.pitch", 0.6),
        ("head.yaw", 1.6), ("head.pitch", 0.9), ("head.roll", 0.9),
    ):  # fmt: skip
        p.add(name, k * size * noise(p.t, p.period, rng, 0.0, 0.6))
    p.add("root.y", -0.004 - 0.15 * p.get("root.x") ** 2)
    p.add("head.roll", -0.6 * (p.get("spine.roll") + p.get("root.roll")))
    add_glances(p, rng, gaze)
    return p


def finish(p: Performance, stage: Stage, blinks: tuple[float, ...] = (), every: float = 3.2) -> Performance:
    """Add the last layer: separate the hands, add blinks and eyelids."""
    keep_hands_apart(p)
    for side in ("Left", "Right"):
        p.add(f"mouthSmile{side}", 0.05)
    add_blinks(p, stage.rng, every, blinks)
    follow_gaze_with_lids(p)
    return p


def idle(stage: Stage) -> Performance:
    return finish(stand(stage, 8.0), stage)


# Sentences in ARPAbet; a phrase ends at every comma and full stop.
PHRASES = (
    "HH AH L OW1 , AE N D W EH1 L K AH M . AY AE M S OW HH AE1 P IY T UW S IY1 Y UW , "
    "AE N D AY W AA1 N T T UW T AO1 K AH B AW1 T AA1 R T",
    "S OW1 , IH M AE1 JH IH N AH B IH1 G AY D IY1 AH , AH B AW1 T DH IH S W AY1 D . "
    "AE N D DH EH N IH T G R OW1 Z AE N D G R OW1 Z",
    "AA N DH AH W AH1 N HH AE N D , W IY HH AE V T AY1 M . AA N DH IY AH1 DH ER HH AE N D , W IY N IY1 D M AO1 R P IY1 P AH L",
    "F ER1 S T , DH AH M OW1 S T IH M P AO1 R T AH N T TH IH1 NG . "
    "P L IY1 Z L IH1 S AH N , B IH K AH1 Z IH T R IY1 L IY M AE1 T ER Z",
    "W EH1 L , AY TH IH1 NG K DH AE T W IY1 SH UH D T R AY1 S AH M TH IH NG N UW1",
    "Y EH1 S , AH V K AO1 R S . M AY F EY1 V ER AH T B UH1 K W AA Z AH B AW1 T F IH1 SH",
    "AY D OW1 N T N OW1 , B AH T W IY K AH N F AY1 N D AW1 T T AH G EH1 DH ER",
    "W AA CH AW1 T . DH AH B IH1 G B L UW1 M AH SH IY1 N IH Z V EH1 R IY HH AA1 T",
)

GESTURES = ("frame", "offer", "wide", "flat", "chop", "pinch", "ready", "self", "aside")
"""Poses that suit talking."""


def talk(
    stage: Stage,
    text: str,
    plan: Sequence[tuple[str, str]],
    rest: str = "ready",
    expression: str = "friendly",
    rate: float = 0.92,
) -> Performance:
    """Return a person who talks, emphasized with hands, head and brows."""
    speech = speak(text, stage.rng, start=0.55, rate=rate)
    return perform(stage, speech, 0.55 + speech.seconds + 0.35, plan, rest, expression)


def perform(
    stage: Stage, speech: Sounds, seconds: float, plan: Sequence[tuple[str, str]], rest: str, expression: str
) -> Performance:
    """Return a person who says ``speech`` within ``seconds``.

    The other arguments are those of ``talk``.
    """
    rng, k = stage.rng, stage.liveliness
    arms = {side: _arm_plan(side, plan, speech, seconds, rest, rng) for side in ("left", "right")}
    p = stand(stage, seconds, arms, gaze=1.2)
    talking = np.zeros_like(p.t)
    for start, end in speech.phrases:
        talking = np.maximum(talking, blend(p.t, p.period, start - 0.05, end, 0.25))
    for name, curve in speech.actions(p.t, p.period).items():
        p.add(name, curve * float(rng.uniform(0.92, 1.06)))
    for side, other in (("left", 0.9), ("right", 1.0)):
        beat(p, side, speech.stresses, k * other)
    for moment, stress in speech.stresses:
        p.add("head.pitch", k * stress * (2.6 * bump(p.t, p.period, moment + 0.03, 0.16, 0.34)
                                           - 1.4 * bump(p.t, p.period, moment - 0.16, 0.22, 0.18)))  # fmt: skip
        p.add("spine.pitch", k * 0.7 * stress * bump(p.t, p.period, moment + 0.05, 0.2, 0.4))
        if rng.random() < 0.45:
            brow = stress * bump(p.t, p.period, moment - 0.02, 0.18, 0.4, 0.08)
            p.add("browInnerUp", 0.3 * brow)
            p.add("browOuterUpLeft", 0.26 * brow)
            p.add("browOuterUpRight", 0.3 * brow)
    turns = [(0.5 * (a + b), float(rng.uniform(-1, 1))) for a, b in speech.phrases]
    look = keys(p.t, p.period, [(0.0, 0.0), *turns], softness=0.12)
    p.add("head.yaw", k * 6.0 * look * talking)
    p.add("spine.yaw", k * 3.0 * look)
    p.add("gaze.yaw", -k * 4.0 * look * talking)
    p.add("head.roll", k * 2.4 * noise(p.t, p.period, rng, 0.1, 0.5) * talking)
    p.add("spine.pitch", 1.5 * talking)
    add_expression(p, expression, 0.6 - 0.35 * talking)
    ends = [b + 0.1 for k, (_, b) in enumerate(speech.phrases[:-1]) if k == 0 or rng.random() < 0.6]
    return finish(p, stage, blinks=tuple(ends), every=3.6)


def _arm_plan(
    side: str, plan: Sequence[tuple[str, str]], speech: Sounds, seconds: float, rest: str, rng: np.random.Generator
) -> list[ArmKey]:
    """Return keys of one arm: a pose for each phrase, reached as it starts, drifting a little while it lasts."""
    lag = 0.0 if side == "left" else float(rng.uniform(0.03, 0.09))
    out: list[ArmKey] = [(0.08, rest), (seconds - 0.1, rest)]
    for number, (start, end) in enumerate(speech.phrases):
        pose = plan[number % len(plan)][0 if side == "left" else 1]
        here = _jitter(pose, rng, 0.02)
        there = _jitter(pose, rng, 0.035)
        reached = max(start + 0.12, 0.5) + lag
        out.insert(-1, (reached, pose, here))
        if end - reached > 0.45:
            out.insert(-1, (min(end - 0.05 + lag, seconds - 0.55), pose, there))
    return out


def _jitter(pose: str, rng: np.random.Generator, size: float) -> dict[str, float]:
    base = POSES[pose]
    scale = 0.3 if pose == "hang" else 1.0
    out = {c: base[c] + scale * float(rng.normal(0, size)) for c in ("x", "y", "z")}
    return out | {c: base[c] + scale * float(rng.normal(0, 100 * size)) for c in ("swivel", "palm")}


def talk_1(stage: Stage) -> Performance:
    plan = (("hang", "greet"), ("offer", "offer"), ("frame", "frame"), ("wide", "wide"))
    return talk(stage, PHRASES[0], plan, rest="hang")


def talk_2(stage: Stage) -> Performance:
    plan = (("ready", "pinch"), ("frame", "frame"), ("wide", "wide"), ("offer", "aside"))
    return talk(stage, PHRASES[1], plan)


def talk_3(stage: Stage) -> Performance:
    plan = (("aside", "ready"), ("offer", "ready"), ("ready", "aside"), ("ready", "offer"))
    return talk(stage, PHRASES[2], plan)


def talk_4(stage: Stage) -> Performance:
    plan = (("ready", "point-up"), ("chop", "chop"), ("self", "flat"), ("flat", "flat"))
    return talk(stage, PHRASES[3], plan, rest="ready", expression="doubt")


def wave(stage: Stage) -> Performance:
    end = 4.6
    keys_right: list[ArmKey] = [(0.15, "hang"), (0.95, "greet"), (3.2, "greet"), (4.25, "hang")]
    p = stand(stage, end, {"right": keys_right})
    on = blend(p.t, p.period, 1.0, 3.0, 0.3)
    swing = np.sin(2 * np.pi * 1.75 * (p.t - 0.9)) * on
    p.add("right.x", 0.16 * swing)
    p.add("right.y", -0.03 * np.abs(swing))
    p.add("right.deviate", -13 * np.sin(2 * np.pi * 1.75 * (p.t - 0.99)) * on)
    p.add("right.swivel", 5 * swing)
    p.add("head.roll", 3.5 * blend(p.t, p.period, 0.9, 3.1, 0.5))
    p.add("spine.roll", -1.5 * blend(p.t, p.period, 0.8, 3.2, 0.6))
    add_expression(p, "smile", 0.85 * blend(p.t, p.period, 0.8, 3.4, 0.5))
    for side in ("Left", "Right"):
        p.add(f"browOuterUp{side}", 0.3 * bump(p.t, p.period, 0.8, 0.3, 0.5, 0.3))
    return finish(p, stage)


def turn(stage: Stage) -> Performance:
    p = stand(stage, 8.0)
    yaw = keys(p.t, p.period, [(0.4, 0), (2.0, 1), (2.7, 1), (5.0, -1), (5.7, -1), (7.4, 0)], softness=0.15)
    ahead = keys(p.t, p.period, [(0.15, 0), (1.75, 1), (2.5, 1), (4.7, -1), (5.4, -1), (7.1, 0)], softness=0.15)
    p.add("root.yaw", 20 * yaw)
    p.add("root.y", -0.008 * yaw**2)  # so that the legs still reach the ground
    p.add("spine.yaw", 10 * yaw)
    p.add("head.yaw", 14 * ahead)
    p.add("gaze.yaw", 10 * (ahead - yaw) + 4 * ahead)
    for side, sign in (("left", 1), ("right", -1)):
        p.add(f"{side}.z", 0.03 * sign * yaw)
    return finish(p, stage, blinks=(1.1, 4.2))


def count(stage: Stage) -> Performance:
    numbers = ("one", "two", "three", "four", "five")

    def hand(first: float) -> list[ArmKey]:
        out: list[ArmKey] = [(first - 0.75, "hang"), (first - 0.05, "show")]
        for k, number in enumerate(numbers):
            at = first + 0.1 + 0.56 * k
            out += [(at + 0.14, "show", SHAPES[number]), (at + 0.46, "show", SHAPES[number])]
        return [*out, (first + 3.7, "hang")]

    right, left = 0.95, 4.75
    p = stand(stage, 9.2, {"right": hand(right), "left": hand(left)})
    for side, first in (("right", right), ("left", left)):
        for k in range(5):
            at = first + 0.24 + 0.56 * k
            p.add(f"{side}.y", 0.03 * bump(p.t, p.period, at, 0.12, 0.2) * stage.liveliness)
            p.add("head.pitch", 1.8 * stage.liveliness * bump(p.t, p.period, at, 0.14, 0.26))
            for name, value in (("jawOpen", 0.2), ("mouthStretchLeft", 0.08), ("mouthStretchRight", 0.08)):
                p.add(name, value * bump(p.t, p.period, at, 0.1, 0.16, 0.06))
    aside = blend(p.t, p.period, right, right + 2.4, 0.6) - blend(p.t, p.period, left, left + 2.4, 0.6)
    p.add("head.yaw", -5 * aside)
    p.add("gaze.yaw", -7 * aside)
    p.add("gaze.pitch", 4 * np.abs(aside))
    return finish(p, stage)


_FACES = ("smile", "surprise", "frown", "wink", "pucker", "tongue", "wide")


def expressions(stage: Stage, names: Sequence[str] = _FACES, each: float = 1.35) -> Performance:
    """Return one named expression after the other, with what the head does along."""
    p = stand(stage, each * len(names) + 0.3)
    heads = {"surprise": (-4, 0), "frown": (4, 0), "wink": (1, 6), "smile": (-1, 3), "doubt": (0, -6), "wide": (-3, 0)}
    for k, name in enumerate(names):
        start = 0.35 + each * k
        weight = blend(p.t, p.period, start, start + each - 0.75, 0.28)
        add_expression(p, name, weight)
        pitch, roll = heads.get(name, (0, 0))
        p.add("head.pitch", stage.liveliness * pitch * weight)
        p.add("head.roll", stage.liveliness * roll * weight)
        if name == "surprise":
            for side in ("left", "right"):
                p.add(f"{side}.shrug", 0.15 * weight)
    return finish(p, stage, blinks=tuple(0.1 + each * k for k in range(0, len(names), 2)), every=0)


def look(stage: Stage) -> Performance:
    p = stand(stage, 7.0, gaze=0.6)
    places = [(0.2, 0, 0), (0.9, 24, 2), (1.8, 24, 2), (2.3, -26, -4), (3.2, -26, -4), (3.8, -4, -18), (4.5, -4, -18),
              (5.0, 5, 20), (5.8, 5, 20), (6.4, 0, 0)]  # fmt: skip
    yaw = keys(p.t, p.period, [(a, y) for a, y, _ in places], softness=0.02)
    pitch = keys(p.t, p.period, [(a, x) for a, _, x in places], softness=0.02)
    lag = 0.12  # eyes lead, the head follows and takes about 60 %
    head_yaw = keys(p.t, p.period, [(a + lag, 0.62 * y) for a, y, _ in places], softness=0.09)
    head_pitch = keys(p.t, p.period, [(a + lag, 0.55 * x) for a, _, x in places], softness=0.09)
    p.add("head.yaw", head_yaw)
    p.add("head.pitch", head_pitch)
    p.add("spine.yaw", 0.12 * head_yaw)
    p.add("gaze.yaw", yaw - head_yaw)
    p.add("gaze.pitch", pitch - head_pitch)
    p.add("browInnerUp", np.clip(-pitch, 0, 20) / 20 * 0.3)
    return finish(p, stage, blinks=(0.55, 2.05, 4.75))


def nod(stage: Stage) -> Performance:
    p = stand(stage, 3.6)
    for at, size in ((0.8, 13), (1.35, 10), (1.9, 7)):
        p.add("head.pitch", size * bump(p.t, p.period, at, 0.24, 0.3))
        p.add("gaze.pitch", -0.6 * size * bump(p.t, p.period, at, 0.24, 0.3))
        p.add("spine.pitch", 0.08 * size * bump(p.t, p.period, at + 0.03, 0.26, 0.34))
    p.add("head.pitch", -3 * bump(p.t, p.period, 0.45, 0.25, 0.2))
    add_expression(p, "friendly", blend(p.t, p.period, 0.5, 2.5, 0.5))
    return finish(p, stage)


def shake(stage: Stage) -> Performance:
    p = stand(stage, 3.8)
    yaw = keys(p.t, p.period, [(0.35, 0), (0.75, 13), (1.25, -14), (1.75, 11), (2.2, -8), (2.75, 0)], softness=0.06)
    p.add("head.yaw", yaw)
    p.add("gaze.yaw", -0.7 * yaw)
    p.add("head.roll", 0.1 * yaw)
    add_expression(p, "doubt", 0.8 * blend(p.t, p.period, 0.5, 2.4, 0.4))
    return finish(p, stage)


def shrug(stage: Stage) -> Performance:
    def arm(lag: float) -> list[ArmKey]:
        return [(0.3 + lag, "hang"), (1.05 + lag, "shrug"), (1.75 + lag, "shrug"), (2.8 + lag, "hang")]

    p = stand(stage, 3.8, {"left": arm(0.0), "right": arm(0.05)})
    on = blend(p.t, p.period, 1.0, 1.75, 0.45)
    p.add("head.roll", 7 * on)
    p.add("head.pitch", 2 * on)
    p.add("spine.pitch", -1.5 * on)
    add_expression(p, "doubt", on)
    for side in ("Left", "Right"):
        p.add(f"browOuterUp{side}", 0.35 * on)
    return finish(p, stage, blinks=(0.75, 2.3))


@dataclass(frozen=True)
class Clip:
    """A built-in: how it is made, and one line about it."""

    make: Callable[[Stage], Performance]
    about: str


CLIPS: dict[str, Clip] = {
    "idle": Clip(idle, "stands, breathes, looks around a little, blinks"),
    "talk": Clip(talk_1, "greets and welcomes, open hands"),
    "talk-2": Clip(talk_2, "explains something that grows, both hands"),
    "talk-3": Clip(talk_3, "weighs two sides, one hand after the other"),
    "talk-4": Clip(talk_4, "makes a point, firm hands"),
    "wave": Clip(wave, "waves with the right hand and smiles"),
    "turn": Clip(turn, "turns body and head 30 degrees to both sides, feet standing"),
    "count": Clip(count, "counts to five on the fingers of each hand"),
    "expressions": Clip(expressions, "smile, surprise, frown, wink, pucker, tongue, mouth wide open"),
    "look": Clip(look, "looks left, right, up and down, eyes first"),
    "nod": Clip(nod, "nods"),
    "shake": Clip(shake, "shakes the head"),
    "shrug": Clip(shrug, "shrugs with open hands"),
}
"""Name -> clip, in a good order to show."""
