"""A performance: named curves that say what a person does, and how they become a motion of a body model.

Channels, all (T,):

* ``root.yaw|pitch|roll``, ``spine.*``, ``head.*`` (relative to the chest): degrees. Yaw turns to the person's left,
  pitch bows, roll tilts to the right.
* ``root.x|y|z``: meters that the pelvis moves while the feet stand still.
* ``left.x|y|z`` and ``right.*``: the wrist seen from its shoulder in the chest's axes, in arm lengths: outward, up,
  forward.
* ``left.swivel``: degrees, elbow outward. ``left.palm``: degrees, 0 = thumb up when the forearm is level, 90 = palm
  up, -80 = palm down. ``left.flex``: degrees toward the palm. ``left.deviate``: degrees toward the thumb.
  ``left.shrug``: 0 to 1.
* ``left.index`` ...: see ``hands``.
* ``gaze.yaw|pitch``: degrees. Every other name is a facial action, 0 to 1.
"""

from __future__ import annotations

import numpy as np
import torch

from avatarkit.motion.performance.hands import CHANNELS as HAND_CHANNELS
from avatarkit.motion.performance.hands import SHAPES
from avatarkit.motion.pose_solver import FINGERS, SIDES, PoseSolver, frame
from avatarkit.types.body import BodyParams, Motion

__all__ = ["HANG", "Performance", "euler", "reach"]

HANG = {"x": 0.21, "y": -0.95, "z": 0.14, "swivel": 6.0, "palm": -8.0, "flex": 6.0, "deviate": 0.0, "shrug": 0.0}
"""An arm that hangs down, relaxed."""

_SPINE = {"spine1": 0.3, "spine2": 0.65, "spine3": 1.0}
_SPLAY = {"index": 5.0, "middle": 0.0, "ring": -5.0, "pinky": -11.0}  # degrees toward the thumb
_PHALANX = (72.0, 95.0, 58.0)  # degrees of flexion of a fist, from the knuckle outwards


class Performance:
    """What a person does over one period.

    Starts as a person who stands still with hanging arms.

    Attributes:
        t: (T,) seconds.
        period: seconds; frame T would be frame 0 again.
        channels: name -> (T,).
    """

    def __init__(self, seconds: float, fps: float) -> None:
        count = max(2, round(seconds * fps))
        self.fps, self.period = fps, count / fps
        self.t = np.arange(count) / fps
        self.channels: dict[str, np.ndarray] = {}
        for side in SIDES:
            for name, value in {**HANG, **SHAPES["relaxed"]}.items():
                self.channels[f"{side}.{name}"] = np.full(count, float(value))

    def get(self, name: str) -> np.ndarray:
        """Return a channel (T,), zero if it was not set."""
        return self.channels.get(name, np.zeros_like(self.t))

    def add(self, name: str, curve: np.ndarray | float) -> None:
        """Add to a channel."""
        self.channels[name] = self.get(name) + curve

    def mix(self, name: str, value: np.ndarray | float, weight: np.ndarray) -> None:
        """Replace a channel by ``value`` in proportion to ``weight`` (T,)."""
        self.channels[name] = self.get(name) * (1 - weight) + value * weight

    def mirrored(self) -> Performance:
        """Return the same performance with left and right exchanged."""
        out = Performance(self.period, self.fps)
        for name, curve in self.channels.items():
            flip = name.endswith((".yaw", ".roll")) or name == "root.x"
            out.channels[_other_side(name)] = -curve if flip else curve
        return out

    def excerpt(self, start: int, count: int) -> Performance:
        """Return frames ``start`` to ``start + count``, wrapping around the end."""
        out = Performance(count / self.fps, self.fps)
        index = (start + np.arange(count)) % len(self.t)
        out.channels = {name: curve[index] for name, curve in self.channels.items()}
        return out

    def motion(self, name: str, solver: PoseSolver, heading: tuple[float, float] = (0.0, 0.0), loop: bool = True) -> Motion:
        """Return poses a body model.

        Args:
            name: of the motion.
            solver: of the body model.
            heading: degrees of yaw and pitch by which the whole body, feet included, is turned.
            loop: whether the last frame runs into the first.
        """
        body = solver.body
        frames = self._frames(solver)
        turn = euler(*(torch.full((1,), v, dtype=torch.float64) for v in (heading[1], heading[0], 0.0)))
        frames = {k: turn @ v for k, v in frames.items()}
        root, joints = solver.solve(frames)
        expression = torch.stack([self._curve(n).clamp(0, 1) for n in body.expression_names], -1).float()
        moved = torch.stack([self._curve(f"root.{axis}") for axis in "xyz"], -1)
        translation = (turn @ moved[..., None])[..., 0].float()
        params = BodyParams(body.name, body.neutral().shape.cpu(), expression, root, translation, joints)
        return Motion(name, self.fps, params, loop)

    def _curve(self, name: str) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.get(name)))

    def _turn(self, part: str, share: float = 1.0) -> torch.Tensor:
        return euler(*(share * self._curve(f"{part}.{axis}") for axis in ("pitch", "yaw", "roll")))

    def _frames(self, solver: PoseSolver) -> dict[str, torch.Tensor]:
        """Return wanted anatomical frames, name -> (T, 3, 3)."""
        root = self._turn("root")
        frames = {"pelvis": root} | {n: root @ self._turn("spine", share) for n, share in _SPINE.items()}
        chest = frames["spine3"]
        frames["neck"] = chest @ self._turn("head", 0.45)
        frames["head"] = chest @ self._turn("head")
        gaze = frames["head"] @ self._turn("gaze")
        frames |= {f"{side}_eye_smplhf": gaze for side in SIDES}
        if "jawOpen" not in solver.body.expression_names:
            zero = torch.zeros_like(self._curve("jawOpen"))
            frames["jaw"] = frames["head"] @ euler(18 * self._curve("jawOpen"), zero, zero)
        for side in SIDES:
            if f"{side}_wrist" in solver.names:
                frames |= {k: chest @ v for k, v in self._arm(side, solver).items()}
            if f"{side}_ankle" in solver.names:
                frames |= self._leg(side, solver, root)
        return frames

    def _arm(self, side: str, solver: PoseSolver) -> dict[str, torch.Tensor]:
        """Return frames of one arm and hand in the chest's axes."""
        s = f"{side}_"
        flip = torch.tensor([1.0 if side == "left" else -1.0, 1, 1], dtype=torch.float64)  # solved as a left arm
        c = {n: self._curve(f"{side}.{n}") for n in (*HANG, *HAND_CHANNELS)}
        lengths = [float((solver.positions[s + b] - solver.positions[s + a]).norm())
                   for a, b in (("shoulder", "elbow"), ("elbow", "wrist"))]  # fmt: skip
        arm = sum(lengths)
        wrist = torch.stack([c["x"], c["y"], c["z"]], -1) * arm
        upper, fore = reach(wrist, c["swivel"], *lengths)
        frames: dict[str, torch.Tensor] = {}
        if s + "collar" in solver.names:
            rest = (solver.positions[s + "shoulder"] - solver.positions[s + "collar"]) * flip
            lifted = _collar_turn(upper, c["shrug"]) @ rest
            upper, fore = reach(wrist - (lifted - rest), c["swivel"], *lengths)
            forward = torch.tensor([0.0, 0, 1], dtype=torch.float64).expand_as(lifted)
            frames[s + "collar"] = frame(lifted * flip, forward)
        hinge = torch.nn.functional.normalize(torch.linalg.cross(upper, fore), dim=-1)
        hand, palm, radial = _hand(fore, hinge, c["palm"], c["flex"], c["deviate"])
        hinge_seen = torch.linalg.cross(upper * flip, fore * flip)
        frames[s + "shoulder"] = frame(upper * flip, hinge_seen)
        frames[s + "elbow"] = frame(fore * flip, hinge_seen)
        frames[s + "wrist"] = frame(hand * flip, radial * flip)
        for finger in FINGERS:
            for k, (along, across) in enumerate(_finger(finger, c, hand, palm, radial), start=1):
                frames[f"{s}{finger}{k}"] = frame(along * flip, across * flip)
        return frames

    def _leg(self, side: str, solver: PoseSolver, root: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return frames of one leg in the world, with the foot fixed to the ground."""
        s = f"{side}_"
        at = {n: solver.positions[s + n] for n in ("hip", "knee", "ankle")}
        pelvis = solver.positions["pelvis"]
        moved = torch.stack([self._curve(f"root.{axis}") for axis in "xyz"], -1)
        hip = pelvis + moved + root @ (at["hip"] - pelvis)
        lengths = float((at["knee"] - at["hip"]).norm()), float((at["ankle"] - at["knee"]).norm())
        forward = torch.tensor([0.0, 0, 1], dtype=torch.float64).expand_as(hip)
        thigh, shin = _two_bones(at["ankle"] - hip, forward, *lengths, longest=0.9995 * sum(lengths))
        hinge = torch.linalg.cross(thigh, -forward)
        ankle = solver.frames[s + "ankle"].expand(len(hip), 3, 3)
        return {s + "hip": frame(thigh, hinge), s + "knee": frame(shin, hinge), s + "ankle": ankle}


def euler(pitch: torch.Tensor, yaw: torch.Tensor, roll: torch.Tensor) -> torch.Tensor:
    """Return rotations (T, 3, 3) from degrees (T,): roll about z first, then pitch about x, then yaw about y."""
    p, y, r = (torch.deg2rad(v) for v in (pitch, yaw, roll))
    o, e = torch.zeros_like(p), torch.ones_like(p)

    def matrix(*rows: torch.Tensor) -> torch.Tensor:
        return torch.stack(rows, -1).unflatten(-1, (3, 3))

    X = matrix(e, o, o, o, p.cos(), -p.sin(), o, p.sin(), p.cos())
    Y = matrix(y.cos(), o, y.sin(), o, e, o, -y.sin(), o, y.cos())
    Z = matrix(r.cos(), -r.sin(), o, r.sin(), r.cos(), o, o, o, e)
    return Y @ X @ Z


def reach(wrist: torch.Tensor, swivel: torch.Tensor, upper: float, fore: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two-bone inverse kinematics of a left arm.

    Args:
        wrist: (T, 3) from the shoulder, meters; clamped to what the arm can reach.
        swivel: (T,) degrees that the elbow is turned outward from where it hangs.
        upper: meters, length of the upper arm.
        fore: meters, length of the forearm.

    Returns:
        Unit directions (T, 3) of the upper arm and the forearm.
    """
    towards = torch.nn.functional.normalize(wrist, dim=-1)
    down = torch.tensor([0.25, -0.75, -0.6], dtype=wrist.dtype).expand_as(wrist)
    pole = torch.nn.functional.normalize(down - (down * towards).sum(-1, keepdim=True) * towards, dim=-1)
    side = torch.linalg.cross(towards, pole)
    angle = torch.deg2rad(swivel)[:, None]
    return _two_bones(wrist, angle.cos() * pole + angle.sin() * side, upper, fore, 0.99 * (upper + fore))


def _two_bones(
    target: torch.Tensor, pole: torch.Tensor, first: float, second: float, longest: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return unit directions of two bones that end at ``target``, their joint pushed toward ``pole`` (both (T, 3))."""
    distance = target.norm(dim=-1, keepdim=True).clamp(abs(first - second) + 0.05 * first, longest)
    towards = torch.nn.functional.normalize(target, dim=-1)
    pole = torch.nn.functional.normalize(pole - (pole * towards).sum(-1, keepdim=True) * towards, dim=-1)
    along = (first**2 + distance**2 - second**2) / (2 * distance)
    joint = along * towards + (first**2 - along**2).clamp(min=0).sqrt() * pole
    return joint / first, (distance * towards - joint) / second


def _collar_turn(upper: torch.Tensor, shrug: torch.Tensor) -> torch.Tensor:
    """Return rotation (T, 3, 3) of a left collar that follows its upper arm: about a third of the lift, as shoulders do."""
    lift = torch.rad2deg(torch.acos((-upper[:, 1]).clamp(-0.999, 0.999)))
    roll = 0.28 * torch.nn.functional.softplus(lift - 40, beta=0.1) + 24 * shrug
    return euler(torch.zeros_like(roll), -9 * upper[:, 2].clamp(min=-0.5), roll)


def _rotate(vector: torch.Tensor, axis: torch.Tensor, degrees: torch.Tensor) -> torch.Tensor:
    """Turn (T, 3) vectors about perpendicular unit axes (T, 3)."""
    a = torch.deg2rad(degrees)[:, None]
    return a.cos() * vector + a.sin() * torch.linalg.cross(axis, vector)


def _hand(
    fore: torch.Tensor, hinge: torch.Tensor, palm: torch.Tensor, flex: torch.Tensor, deviate: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return directions (T, 3) of a left hand: along it, out of its palm, toward its thumb."""
    normal = _rotate(hinge, fore, -palm)  # thumb up: the palm looks along the elbow's axis
    radial = torch.linalg.cross(normal, fore)
    hand, normal = _rotate(fore, -radial, flex), _rotate(normal, -radial, flex)
    hand, radial = _rotate(hand, normal, deviate), _rotate(radial, normal, deviate)
    return hand, normal, radial


def _finger(
    finger: str, c: dict[str, torch.Tensor], hand: torch.Tensor, palm: torch.Tensor, radial: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return (along, across) of the three phalanges of a left hand's finger."""
    curl = c[finger]
    if finger == "thumb":
        return _thumb(curl, c["oppose"], hand, palm, radial)
    splay = _SPLAY[finger] * (0.45 + 1.3 * c["spread"]) * (1 - curl).clamp(0, 1)
    along = _rotate(hand, palm, splay)
    across = _rotate(radial, palm, splay)
    out, angle = [], torch.zeros_like(curl)
    for most in _PHALANX:
        angle = angle + most * curl + 2
        a = torch.deg2rad(angle)[:, None]
        out.append((a.cos() * along + a.sin() * palm, across))
    return out


def _thumb(
    curl: torch.Tensor, oppose: torch.Tensor, hand: torch.Tensor, palm: torch.Tensor, radial: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the thumb's rotation: a swing across the palm and a bend toward the little finger."""
    turn = torch.deg2rad(10 + 70 * oppose)[:, None]
    aside = turn.cos() * radial + turn.sin() * palm
    angle = torch.deg2rad(46 - 8 * oppose)[:, None]
    first = angle.sin() * aside + angle.cos() * hand
    inward = -radial + (radial * first).sum(-1, keepdim=True) * first
    inward = torch.nn.functional.normalize(inward, dim=-1)
    out, bent = [], torch.zeros_like(curl)
    for most in (12.0, 42.0, 62.0):
        bent = bent + most * curl
        a = torch.deg2rad(bent)[:, None]
        out.append((a.cos() * first + a.sin() * inward, palm))
    return out


def _other_side(name: str) -> str:
    for a, b in (("left", "right"), ("right", "left"), ("Left", "Right"), ("Right", "Left")):
        if name.startswith(a + ".") or name.endswith(a):
            return b + name.removeprefix(a) if name.startswith(a + ".") else name.removesuffix(a) + b
    return name
