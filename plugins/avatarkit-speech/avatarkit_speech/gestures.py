"""What the body does along with speech: a plan of events for the whole recording, and its curves for any part of it.

The plan is made once, from phrases, stresses and a seed. Its curves depend on the moments only, so that a recording can be
performed part by part, and the parts fit to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from avatarkit.errors import InputError
from avatarkit.motion.performance.curves import bump, keys
from avatarkit.motion.performance.face import add_expression, follow_gaze_with_lids
from avatarkit.motion.performance.gestures import POSES, ArmKey, beat, keep_hands_apart, move_arm
from avatarkit.motion.performance.performance import Performance
from avatarkit_speech.drift import Drift
from avatarkit_speech.prosody import Stress

T = TypeVar("T", bound=tuple[Any, ...])

__all__ = ["STYLES", "BodyPlan", "Style", "plan"]


@dataclass(frozen=True)
class Style:
    """How much a person moves.

    Attributes:
        gestures: share of phrases with a gesture of the arms.
        size: scale of beats, nods and sway.
        reach: how far hands leave their rest, as a share of the pose.
        brows: share of emphasized syllables that raise the brows.
        smile: 0 to 1, while listening or silent.
    """

    gestures: float
    size: float
    reach: float
    brows: float
    smile: float


STYLES = {"calm": Style(0.35, 0.55, 0.8, 0.3, 0.3), "lively": Style(0.85, 1.0, 1.0, 0.55, 0.5)}

_GESTURES = ("frame", "offer", "wide", "flat", "chop", "pinch", "ready", "self", "aside")
_KEPT = 3  # gestures before one may come again
_STROKE = (1.3, 2.6)  # seconds that one gesture is held
_SHORTEST = 0.55  # seconds of a phrase with a gesture
_LONGEST_HOLD = 2.8  # seconds that a hand stays up without a gesture
_RETURN = 1.1  # seconds of a pause in which hands go back to rest
_TRAVEL = 0.9  # seconds that a hand takes to or from its rest
_LONG = 0.35  # seconds of a pause in which the eyes look away
_BLINKS = (1.3, 8.0, 3.9)  # seconds: shortest, longest and mean time between blinks
_SHIFTS = (7.0, 16.0)  # seconds between shifts of weight
_MARGIN = 12.0  # seconds around a part within which events matter


@dataclass
class BodyPlan:
    """Events in seconds.

    Attributes:
        style: how much the person moves.
        drift: slow random movement.
        arms: ``left`` and ``right`` -> keys.
        stresses: beats of hands and head.
        nods: (seconds, degrees, sideways) of the head on stresses.
        brows: (seconds, 0 to 1).
        blinks: seconds.
        looks: (seconds, yaw, pitch) where the eyes go, in degrees.
        turns: (seconds, -1 to 1) where head and chest turn.
        weight: (seconds, -1 to 1) on which leg the person stands.
        breaths: seconds at which the person breathes in.
        talking: (start, end) of phrases.
    """

    style: Style
    drift: Drift
    arms: dict[str, list[ArmKey]] = field(default_factory=dict)
    stresses: list[tuple[float, float]] = field(default_factory=list)
    nods: list[tuple[float, float, float]] = field(default_factory=list)
    brows: list[tuple[float, float]] = field(default_factory=list)
    blinks: list[float] = field(default_factory=list)
    looks: list[tuple[float, float, float]] = field(default_factory=list)
    turns: list[tuple[float, float]] = field(default_factory=list)
    weight: list[tuple[float, float]] = field(default_factory=list)
    breaths: list[float] = field(default_factory=list)
    talking: list[tuple[float, float]] = field(default_factory=list)

    def perform(self, p: Performance) -> None:
        """Add what the body does to a performance; its mouth is left alone."""
        k, first, last = self.style.size, float(p.t[0]) - _MARGIN, float(p.t[-1]) + _MARGIN
        for side in ("left", "right"):
            move_arm(p, side, _around(self.arms[side], first, last))
            self._tremble(p, side)
        self._sway(p, _around(self.weight, first, last))
        self._breathe(p, [b for b in self.breaths if first < b < last])
        stresses = [s for s in self.stresses if first < s[0] < last]
        for side, other in (("left", 0.9), ("right", 1.0)):
            beat(p, side, stresses, k * other)
        self._head(p, first, last)
        self._face(p, first, last)
        keep_hands_apart(p)
        follow_gaze_with_lids(p)

    def _tremble(self, p: Performance, side: str) -> None:
        for channel, amount in (("x", 0.006), ("y", 0.007), ("z", 0.009), ("swivel", 1.2), ("palm", 2.5), ("flex", 2.0)):
            p.add(f"{side}.{channel}", amount * self.drift(p.t, f"{side}.{channel}", 0.5))
        shared = self.drift(p.t, f"{side}.fingers", 0.4)
        for k, finger in enumerate(("index", "middle", "ring", "pinky", "thumb")):
            p.add(f"{side}.{finger}", (0.014 + 0.003 * k) * (shared + 0.7 * self.drift(p.t, f"{side}.{finger}", 0.5)))

    def _sway(self, p: Performance, weight: Sequence[tuple[float, float]]) -> None:
        k = self.style.size
        leg = keys(p.t, p.period, weight, softness=0.25)
        p.add("root.x", 0.022 * leg + 0.004 * k * self.drift(p.t, "root.x", 0.25))
        p.add("root.roll", -1.1 * leg + 0.3 * k * self.drift(p.t, "root.roll", 0.25))
        p.add("spine.roll", 1.3 * leg)
        p.add("root.yaw", 1.5 * leg)
        for name, size in (("root.z", 0.003), ("root.yaw", 0.6), ("spine.yaw", 0.9), ("spine.roll", 0.5), ("spine.pitch", 0.5)):
            p.add(name, k * size * self.drift(p.t, name, 0.3))
        p.add("root.y", -0.004 - 0.15 * p.get("root.x") ** 2)

    def _breathe(self, p: Performance, breaths: Sequence[float]) -> None:
        air = np.zeros_like(p.t)
        for start, after in pairwise([*breaths, breaths[-1] + 4.0] if breaths else []):
            inhale = min(1.3, 0.4 * (after - start))
            air = np.maximum(air, bump(p.t, p.period, start + inhale, inhale, after - start - inhale))
        p.add("spine.pitch", -0.9 * air)
        p.add("head.pitch", 0.6 * air)
        for side in ("left", "right"):
            p.add(f"{side}.shrug", 0.02 + 0.09 * air)

    def _head(self, p: Performance, first: float, last: float) -> None:
        k = self.style.size
        for moment, size, tilt in self.nods:
            if not first < moment < last:
                continue
            down = bump(p.t, p.period, moment + 0.03, 0.17, 0.36)
            p.add("head.pitch", k * size * (down - 0.5 * bump(p.t, p.period, moment - 0.17, 0.22, 0.2)))
            p.add("head.roll", k * tilt * down)
            p.add("head.yaw", -0.6 * k * tilt * down)
            p.add("spine.pitch", 0.25 * k * size * bump(p.t, p.period, moment + 0.05, 0.22, 0.42))
        look = keys(p.t, p.period, _around(self.turns, first, last), softness=0.14)
        p.add("head.yaw", 5.0 * k * look + 1.2 * self.drift(p.t, "head.yaw", 0.35))
        p.add("spine.yaw", 2.6 * k * look)
        p.add("head.pitch", 0.8 * self.drift(p.t, "head.pitch", 0.35))
        p.add("head.roll", 1.8 * k * self.drift(p.t, "head.roll", 0.3) - 0.6 * (p.get("spine.roll") + p.get("root.roll")))
        p.add("gaze.yaw", -4.0 * k * look)  # eyes stay with the viewer while the head turns
        looks = _around(self.looks, first, last)
        for axis, column, share in (("yaw", 1, 0.3), ("pitch", 2, 0.35)):
            eyes = _steps(p.t, [(look[0], look[column]) for look in looks], 0.05)
            head = _steps(p.t, [(look[0] + 0.06, look[column]) for look in looks], 0.4)
            p.add(f"gaze.{axis}", eyes - share * head + 0.25 * self.drift(p.t, f"gaze.{axis}", 2.5))
            p.add(f"head.{axis}", share * head)

    def _face(self, p: Performance, first: float, last: float) -> None:
        for moment, size in self.brows:
            if first < moment < last:
                brow = size * bump(p.t, p.period, moment - 0.02, 0.18, 0.42, 0.1)
                p.add("browInnerUp", 0.34 * brow)
                p.add("browOuterUpLeft", 0.27 * brow)
                p.add("browOuterUpRight", 0.31 * brow)
        talking = np.zeros_like(p.t)
        for start, end in self.talking:
            if end > first and start < last:
                talking = np.maximum(talking, bump(p.t, p.period, start - 0.05, 0.25, 0.3, end - start))
        mood = 1 + 0.25 * self.drift(p.t, "mood", 0.1)
        add_expression(p, "friendly", self.style.smile * mood * (1 - 0.6 * talking))
        add_expression(p, "smile", np.full_like(p.t, 0.04))
        lid = np.zeros_like(p.t)
        for moment in self.blinks:
            if first < moment < last:
                lid = np.maximum(lid, bump(p.t, p.period, moment, 0.09, 0.17, 0.035))
        for side in ("Left", "Right"):
            p.mix(f"eyeBlink{side}", 1.0, lid)
            p.add(f"browDown{side}", 0.04 * lid)


def plan(seconds: float, phrases: Sequence[tuple[float, float]], stresses: Sequence[Stress], seed: int, style: str) -> BodyPlan:
    """Return what the body does during a recording.

    Args:
        seconds: how long it is.
        phrases: (start, end) between pauses.
        stresses: syllables that stand out.
        seed: the same seed gives the same plan.
        style: a name of ``STYLES``.

    Raises:
        InputError: unknown style.
    """
    if style not in STYLES:
        raise InputError(f"There is no style {style!r} of talking: use {' or '.join(STYLES)}.")
    look = STYLES[style]
    rng = np.random.default_rng(seed)
    out = BodyPlan(look, Drift(seconds, seed), talking=list(phrases))
    _plan_arms(out, seconds, phrases, stresses, rng)
    out.stresses = [(s.time, s.strength) for s in stresses]
    for s in stresses:
        tilt = float(rng.choice((-1.0, 1.0))) * (2.0 if rng.random() < 0.35 else 0.4)
        out.nods.append((s.time, s.strength * float(rng.uniform(1.4, 3.2)), s.strength * tilt))
        if s.strength > 0.5 and s.rise > 0.5 and rng.random() < look.brows:
            out.brows.append((s.time, s.strength * float(rng.uniform(0.7, 1.1))))
    _plan_eyes(out, seconds, phrases, rng)
    out.turns = [(-1.0, 0.0)]
    for start, end in _parts(phrases, 3.2):
        if (middle := 0.5 * (start + end)) > out.turns[-1][0] + 1.0:
            out.turns.append((middle, float(rng.uniform(-1, 1))))
    out.turns.append((max(seconds, out.turns[-1][0]) + 1.0, 0.0))
    _plan_weight(out, seconds, phrases, rng)
    _plan_breaths(out, seconds, phrases, rng)
    return out


def _plan_arms(
    out: BodyPlan, seconds: float, phrases: Sequence[tuple[float, float]], stresses: Sequence[Stress], rng: np.random.Generator
) -> None:
    """Set keys of both arms: a pose per stroke, reached on its first stress, and rest in long pauses."""
    strokes = _parts([p for p in phrases if p[1] - p[0] >= _SHORTEST], float(np.mean(_STROKE)))
    times = np.array([s.time for s in stresses])
    arms: dict[str, list[ArmKey]] = {side: [(-2.0, "hang"), (-1.0, "hang")] for side in ("left", "right")}
    recent: list[str] = []
    for number, (start, end) in enumerate(strokes):
        first = int(np.searchsorted(times, start)) if len(times) else 0
        beat_at = float(times[first]) if first < len(times) and times[first] < end else start + 0.15
        one, two, moves = _choose(recent, rng), _choose(recent, rng), rng.random()
        kind = rng.random()
        left, right = (one, one) if kind < 0.5 else (one, two) if kind < 0.68 else (one, "") if kind < 0.84 else ("", one)
        following = strokes[number + 1][0] if number + 1 < len(strokes) else np.inf
        for side, pose in (("left", left), ("right", right)):
            if moves > out.style.gestures or not pose:
                continue
            _add_stroke(arms[side], pose, beat_at, end, following, out.style.reach, rng, seconds)
    for side, found in arms.items():
        _rest(found, seconds + 1.0)
        out.arms[side] = found


def _add_stroke(
    found: list[ArmKey],
    pose: str,
    at: float,
    end: float,
    following: float,
    reach: float,
    rng: np.random.Generator,
    seconds: float,
) -> None:
    lag = float(rng.uniform(0.0, 0.08))
    at = max(at - 0.12 + lag, _TRAVEL)  # rest is what a film begins with
    hold = min(end + lag, seconds - _TRAVEL - 0.1)
    if found[-1][1] != "hang" and at - found[-1][0] > _LONGEST_HOLD:
        found.append((found[-1][0] + _TRAVEL, "hang"))
    resting = found[-1][1] == "hang"
    if at > hold - 0.1 or at < found[-1][0] + (0.6 if resting else 0.3):  # no time to get there
        return
    if resting and at - _TRAVEL > found[-1][0] + 0.1:
        found.append((at - _TRAVEL, "hang"))
    here, there = (_jitter(pose, rng, size, reach) for size in (0.025, 0.04))
    found += [(at, pose, here), (hold, pose, there)]
    if following - end > _RETURN:
        found.append((min(hold + _TRAVEL + 0.25, seconds - 0.05), "hang"))


def _rest(found: list[ArmKey], end: float) -> None:
    """End in rest, which is held before and after gestures."""
    if found[-1][1] != "hang":
        found.append((found[-1][0] + _TRAVEL, "hang"))
    found += [(max(end, found[-1][0] + 0.5), "hang"), (max(end, found[-1][0] + 0.5) + 1.0, "hang")]


def _choose(recent: list[str], rng: np.random.Generator) -> str:
    """Return a gesture that was not among the last ones."""
    pose = str(rng.choice([name for name in _GESTURES if name not in recent]))
    recent.append(pose)
    del recent[:-_KEPT]
    return pose


def _jitter(pose: str, rng: np.random.Generator, size: float, reach: float) -> dict[str, float]:
    """Return the place of a pose with some variety, nearer to rest for a calm person."""
    base, rest = POSES[pose], POSES["ready"]
    out = {c: rest[c] + reach * (base[c] - rest[c]) + float(rng.normal(0, size)) for c in ("x", "y", "z")}
    return out | {c: base[c] + float(rng.normal(0, 100 * size)) for c in ("swivel", "palm")}


def _plan_eyes(out: BodyPlan, seconds: float, phrases: Sequence[tuple[float, float]], rng: np.random.Generator) -> None:
    """Set looks and blinks: eyes meet the viewer, leave in some pauses, and lids close as phrases end."""
    looks: list[tuple[float, float, float]] = [(-5.0, 0.0, 0.0)]
    gaps = [(a[1], b[0]) for a, b in pairwise(phrases) if b[0] - a[1] >= _LONG]
    if phrases and seconds - phrases[-1][1] > 2.5:
        gaps += [(k, k + 1.6) for k in np.arange(phrases[-1][1] + 1.2, seconds - 2.0, 3.7).tolist()]
    if not phrases:
        gaps = [(k, k + 1.5) for k in np.arange(2.0, seconds - 1.6, 4.3).tolist()]
    for start, end in gaps:
        if rng.random() < 0.7 and start > looks[-1][0] + 1.0:
            yaw = float(rng.choice((-1, 1)) * rng.uniform(6, 13))
            looks.append((start + 0.08, yaw, float(rng.choice((-5.0, 4.0, 7.0)) * rng.uniform(0.5, 1.1))))
            back = min(max(end + float(rng.uniform(-0.1, 0.35)), start + 0.5), start + 1.9)
            looks.append((back, 0.0, 0.0))
    for start, end in phrases:
        for moment in np.arange(start + 1.5, end - 1.0, 2.6).tolist():
            if rng.random() < 0.5:
                at = moment + float(rng.uniform(0, 0.8))
                looks += [
                    (at, float(rng.uniform(-3.5, 3.5)), float(rng.uniform(-1.5, 2.0))),
                    (at + float(rng.uniform(0.4, 0.9)), 0.0, 0.0),
                ]
    out.looks = sorted(looks)
    shortest, longest, mean = _BLINKS
    wanted = [(end + 0.05, 0.65) for _, end in phrases] + [(look[0] - 0.04, 0.6) for look in looks if abs(look[1]) > 5]
    chosen = [moment for moment, chance in wanted if rng.random() < chance and 0 < moment < seconds]
    now = float(rng.uniform(0.7, 1.8))
    while now < seconds - 0.3:
        chosen.append(now)
        now += float(np.clip(rng.gamma(4, mean / 4), shortest, longest))
    blinks: list[float] = []
    for moment in sorted(chosen):
        if not blinks or moment - blinks[-1] >= shortest:
            blinks.append(moment)
    out.blinks = blinks


def _plan_weight(out: BodyPlan, seconds: float, phrases: Sequence[tuple[float, float]], rng: np.random.Generator) -> None:
    """Set the shifts of weight, in pauses where there are some."""
    pauses = [0.5 * (a[1] + b[0]) for a, b in pairwise(phrases)]
    side, now = float(rng.choice((-1, 1))), 0.0
    out.weight = [(-2.0, 0.3 * side), (0.0, 0.3 * side)]
    while (now := now + float(rng.uniform(*_SHIFTS))) < seconds:
        near = [pause for pause in pauses if abs(pause - now) < 2.0]
        now = max(_nearest(near, now), out.weight[-1][0] + 1.5)
        side = -side
        place = side * float(rng.uniform(0.25, 1.0))
        out.weight += [(now, out.weight[-1][1]), (now + float(rng.uniform(1.0, 1.6)), place)]
    out.weight += [(max(seconds, out.weight[-1][0]) + 2.0, out.weight[-1][1])]


def _plan_breaths(out: BodyPlan, seconds: float, phrases: Sequence[tuple[float, float]], rng: np.random.Generator) -> None:
    """Set breaths: in pauses of speech, and every 3 to 4.5 seconds without it."""
    pauses = [start - 0.5 for start, _ in phrases]
    now = -float(rng.uniform(0.5, 3.5))
    while now < seconds + 5:
        out.breaths.append(now)
        usual = now + float(rng.uniform(3.0, 4.5))
        near = [pause for pause in pauses if now + 2.0 < pause < now + 6.5]
        now = _nearest(near, usual)


def _nearest(moments: Sequence[float], to: float) -> float:
    """Return the moment nearest to another one, or that one if there are none."""
    return min(moments, key=lambda moment: abs(moment - to), default=to)


def _parts(phrases: Sequence[tuple[float, float]], length: float) -> list[tuple[float, float]]:
    """Return phrases with long ones split evenly."""
    out: list[tuple[float, float]] = []
    for start, end in phrases:
        edges = np.linspace(start, end, max(1, round((end - start) / length)) + 1).tolist()
        out += list(pairwise(edges))
    return out


def _around(events: Sequence[T], first: float, last: float) -> list[T]:
    """Return events within a span, and three before and after it, so that curves through them do not change."""
    times = np.array([event[0] for event in events])
    a, b = np.searchsorted(times, [first, last])
    return list(events[max(0, int(a) - 3) : int(b) + 3])


def _steps(t: np.ndarray, points: Sequence[tuple[float, float]], ease: float) -> np.ndarray:
    """Return (T,) a curve that jumps to each value at its moment, within ``ease`` seconds."""
    out = np.full_like(t, points[0][1])
    for (_, before), (moment, value) in pairwise(points):
        x = np.clip((t - moment) / ease, 0, 1)
        out += (value - before) * x**3 * (10 + x * (6 * x - 15))
    return out
