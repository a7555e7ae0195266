"""Hands that no detector found are put where they do not show, or where skin shows that may be theirs.

A hand's detector looks closely at every wrist that is seen. Where it finds no hand, the hand is hidden, under the other arm
or in a pocket, or little of it is seen; yet the relaxed hand of the fit would lie open on whatever the photo shows there.
Occlusion is not differentiable, so we search a small grid: turns of the arm, bends of the wrist and curls of the fingers.

A hand that was found keeps its pose, and only its depth is searched: it lies before the body where the photo shows its skin,
and behind the clothes that cover a part of it, as with crossed arms.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from avatarkit.geometry.mesh_graph import limb, vertices_below
from avatarkit.interfaces import MeshRasterizer
from avatarkit.types.camera import Camera
from avatarkit.types.mesh import Mesh
from avatarkit.types.subject import Matte
from avatarkit_exavatar.body.kinematics import Kinematics
from avatarkit_exavatar.body.parameters import Parameters
from avatarkit_exavatar.body.points import Identity, Points, near_joints
from avatarkit_exavatar.fitting.residuals import Places
from avatarkit_exavatar.fitting.solver import Prior, minimize
from avatarkit_exavatar.observations.contour import resize_alpha
from avatarkit_exavatar.observations.observation import Observation
from avatarkit_exavatar.photo.one_limb import OneLimb

__all__ = ["order_hands", "tuck_hands"]

_PIXELS = 288  # longer side of the picture in which the hand is counted
_FINGERS = ("index", "middle", "ring", "pinky")
_FIST = {"1": 1.2, "2": 1.5, "3": 0.9}  # radians of bend by phalanx
_THUMB = {"2": 0.6, "3": 0.8}
_CURLS = (0.0, 0.5, 1.0)  # parts of a fist
_BENDS, _ASIDE = (0.0, -0.4, 0.4, -0.8, 0.8, -1.2, 1.2), (0.0, -0.45, 0.45)  # radians at the wrist
_STRETCHES = (0.0, -0.2, -0.4, -0.6)  # radians at the elbow of an arm that was not fully seen
_INWARD, _ROLLS = (0.0, -0.5, -0.25, 0.25, 0.5), (0.0, -0.8, 0.8)  # radians about the upper arm, and about the forearm
_PUSHES = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3)  # meters that a wrist goes back along its ray, under what lies before it
_CURLED, _BENT, _ROLLED, _STRETCHED = 0.06, 0.05, 0.03, 0.8  # what a fist, and a radian of each, must gain, as part of a hand
_DEPTHS = 4  # of them, the best, are followed up
_PUSHED = 0.2  # what a meter back, or forward, must gain
_SUNK = 1.0  # what a part of a hand's area must gain by which a forearm that was seen sinks into something
_CROSSED = 0.25  # of it, where it is the other arm: which of two that cross lies before the other, pixels hardly tell
_MOVED = 2.0  # what a wrist that was seen must gain to leave its place, per squared head height
_ASKING = 4.0  # weight of skin that nothing else explains, against clothes that the hand would lie on
_BEHIND = 0.3  # a hand where the photo shows no person may be behind something that is not theirs
_STEPS = 12  # that push a wrist back
_WRIST_OFF, _ELBOW_ASIDE = 0.005, 0.02  # meters from where they should be then that weigh as much as a radian
_UNDER = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06)  # meters that a found hand goes back, under a sleeve that hides a part of it
_OVER = (-0.02, -0.04, -0.06, -0.08, -0.1, -0.12, -0.15, -0.2)  # and that one comes forward whose skin the photo shows
_MOVING, _OFF_PLACE = 0.1, 4.0  # what any such move must gain, and each head height that its knuckles go aside in the picture
_SWALLOWED = 0.15  # part of a found hand that shows its skin in the photo, from which it may not be inside of the body
_BARE, _COVERING = 0.3, 0.15  # of a found hand: skin from which it wears no glove, clothes that may hide it
_SHOWN = 0.08  # part of a hand that must lie on skin to be taken for seen


@dataclass(frozen=True)
class _Move:
    """A change of one arm, in radians and parts of a fist."""

    push: float = 0.0
    stretch: float = 0.0
    inward: float = 0.0
    roll: float = 0.0
    bend: float = 0.0
    aside: float = 0.0
    curl: float = 0.0

    @property
    def cost(self) -> float:
        turned = _BENT * (self.bend**2 + self.aside**2) + _ROLLED * (self.roll**2 + self.inward**2)
        return _CURLED * self.curl + turned + _STRETCHED * self.stretch**2 + _PUSHED * self.push


@dataclass(frozen=True)
class _Trial:
    """What a move costs, the fit (P,) with it, and which part of the hand lies on skin then."""

    cost: float
    move: _Move
    pose: torch.Tensor
    on_skin: float


def tuck_hands(
    parameters: Parameters,
    x: torch.Tensor,
    observation: Observation,
    camera: Camera,
    matte: Matte | None,
    skin: torch.Tensor | None,
    rasterizer: MeshRasterizer,
) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Move the hands that were not found.

    Args:
        parameters: meaning of the unknowns.
        x: (P,) the fit.
        observation: what the picture shows.
        camera: of the picture.
        matte: of the photo.
        skin: (H, W) 0 to 1, pixels that look like the person's skin; None where unknown.
        rasterizer: draws meshes.

    Returns:
        (P,) the fit with those hands as little wrong as they can be, and the hands of which something shows.
    """
    small = camera.scaled_to(_PIXELS)
    person, bare = _maps(small, matte, skin)
    partially_visible = []
    for side in ("left", "right"):
        if observation.visible[f"{side}_hand"]:
            continue
        arm = _Arm(parameters, x, side, observation, small, rasterizer)
        if f"{side}_hand" in observation.truncated and not (arm.movable and arm.on_a_sleeve(arm.closed(), person - bare)):
            x = arm.closed()
            partially_visible.append(f"{side}_hand")
        elif arm.movable:
            x, on_skin = arm.tucked(person, bare)
            if on_skin > _SHOWN:
                partially_visible.append(f"{side}_hand")
    return x, tuple(partially_visible)


def order_hands(
    parameters: Parameters,
    x: torch.Tensor,
    offsets: torch.Tensor,
    observation: Observation,
    camera: Camera,
    matte: Matte | None,
    skin: torch.Tensor,
    rasterizer: MeshRasterizer,
) -> torch.Tensor:
    """(P,) the fit with found hands as far before or behind the dressed body as the photo shows them.

    Args:
        parameters: meaning of the unknowns.
        x: (P,) the fit.
        offsets: (V, 3) of the surface, at rest.
        observation: what the picture shows.
        camera: of the picture.
        matte: of the photo.
        skin: (H, W) 0 to 1, pixels that look like the person's skin.
        rasterizer: draws meshes.
    """
    small = camera.scaled_to(_PIXELS)
    person, bare = _maps(small, matte, skin)
    for side in ("left", "right"):
        if observation.visible[f"{side}_hand"]:
            arm = _Arm(parameters, x, side, observation, small, rasterizer, offsets)
            x = arm.ordered(person - bare, bare) if arm.movable else x
    return x


def _maps(camera: Camera, matte: Matte | None, skin: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """(H, W) each, 0 to 1: where the camera's picture shows the person, and their skin."""
    person = torch.ones(camera.height, camera.width)
    if matte is not None:
        person = resize_alpha(matte.alpha, camera.width, camera.height)
    return person, torch.zeros_like(person) if skin is None else resize_alpha(skin, camera.width, camera.height) * person


class _Arm:
    """One arm, the hand of which is to be moved.

    Args:
        offsets: (V, 3) of the surface, at rest.
    """

    def __init__(
        self,
        parameters: Parameters,
        x: torch.Tensor,
        side: str,
        observation: Observation,
        camera: Camera,
        rasterizer: MeshRasterizer,
        offsets: torch.Tensor | None = None,
    ) -> None:
        self._parameters, self._x, self._side, self._offsets = parameters, x, side, offsets
        self._camera, self._rasterizer = camera, rasterizer
        body = parameters.body
        self._vertices = vertices_below(body, f"{side}_wrist")
        self._hand = self._vertices[body.faces].all(1)
        self._forearm = limb(body, f"{side}_hand", outer=True)[body.faces].all(1) & ~self._hand
        other = "right" if side == "left" else "left"
        self._other_hand = vertices_below(body, f"{other}_wrist")[body.faces].all(1)
        self._crossing = vertices_below(body, f"{other}_shoulder")[body.faces].all(1)
        self._seen, self._found = (observation.visible[f"{side}_{part}"] for part in ("arm", "hand"))
        self._head = observation.head_pixels * camera.width / observation.width
        self._other = torch.zeros(len(body.skinning_weights), dtype=torch.bool)  # whose skin cannot be this hand's
        for name in ("head", f"{other}_hand"):
            self._other |= body.part(name) > 0.5
        self._forearms: dict[tuple[float, ...], torch.Tensor] = {}  # how it was moved -> (H, W) where its forearm is drawn alone
        self._bases = {0.0: x}  # how far its wrist was pushed back, or forward if negative -> (P,) the fit
        names = ("shoulder", "upper_arm_twist", "elbow", "forearm_twist", "wrist")
        self._at = {name: parameters.group_slice(f"{side}_{name}") for name in names}
        self._kinematics = Kinematics(body, parameters, Identity(body, x[parameters.layout.shape], movable=False))

    @property
    def movable(self) -> bool:
        """Whether the body has such an arm."""
        return bool(self._hand.any()) and self._at["elbow"] is not None and self._at["wrist"] is not None

    @cached_property
    def _end_joints(self) -> list[int]:
        """Elbow and wrist."""
        joints = {g.name: g.joints[0] for g in self._parameters.body.pose_groups}
        return [joints[f"{self._side}_{name}"] for name in ("elbow", "wrist")]

    @cached_property
    def _ends(self) -> Points:
        """Elbow and wrist, and knuckles of a hand that was found: it keeps its direction."""
        joints = {g.name: g.joints[0] for g in self._parameters.body.pose_groups}
        knuckles = [joints[f"{self._side}_{name}1"] for name in _FINGERS if f"{self._side}_{name}1" in joints]
        return near_joints(self._kinematics.identity, [*self._end_joints, *(knuckles if self._found else [])])

    @cached_property
    def _limb(self) -> OneLimb:
        """What moves, over what does not."""
        groups = [f"{self._side}_{name}" for name in self._at]
        return OneLimb(self._parameters, self._x, groups, self._camera, self._rasterizer, self._offsets)

    def tucked(self, person: torch.Tensor, bare: torch.Tensor) -> tuple[torch.Tensor, float]:
        """(P,) the best pose found, and which part of the hand lies on skin in it; maps (H, W) say where the person is."""
        body, camera, render = self._parameters.body, self._camera, self._rasterizer.render
        vertices = body.vertices(self._parameters.decode(self._x))[0]
        others = render(Mesh(vertices, body.faces[~self._hand]), camera).face_index
        if not self._seen:
            bare = torch.zeros_like(bare)  # skin is a hint for a hand at a wrist that was seen, not for one anywhere
        taken = (others >= 0) & self._other[body.faces[~self._hand][others.clamp(min=0)]].any(-1)
        free = torch.where(taken, torch.zeros_like(bare), bare)
        wrong = person.clamp(min=_BEHIND) - _ASKING * free  # skin asks for the hand, clothes refuse it
        alone = render(Mesh(vertices, body.faces[self._hand]), camera).face_index
        whole = max(float((alone >= 0).sum()), 1.0)
        limb, least = self._limb, float(wrong.clamp(max=0.0).sum()) / whole
        at_rest = limb.transforms(self._x[None])
        start = self._wrist(at_rest)
        sunk = self._sunk(_Move(), limb.posed(at_rest)[0], limb.draw(limb.posed(at_rest)[0]))

        def tried(moves: Iterable[_Move], limit: float = math.inf) -> Iterable[_Trial]:
            """Draw the moves that may cost less than the limit."""
            chosen = list(moves)
            poses = self._moved(chosen)
            transforms = limb.transforms(poses)
            costs = torch.tensor([move.cost for move in chosen])
            if self._seen:
                costs = costs + _MOVED * ((self._wrist(transforms) - start) / self._head).square().sum(-1)
            posed = limb.posed(transforms)
            for move, pose, place, cost in zip(chosen, poses, posed, costs.tolist(), strict=True):
                if cost + least >= limit:
                    continue
                face = limb.draw(place)
                shown = (face >= 0) & self._hand[face.clamp(min=0)]
                cost += float(wrong[shown].sum()) / whole
                if self._seen:
                    cost += _SUNK * max(self._sunk(move, place, face) - sunk, 0.0) / whole
                limit = min(limit, cost) if limit < math.inf else limit
                yield _Trial(cost, move, pose, float(free[shown].sum()) / whole)

        def cost(trial: _Trial) -> float:
            return trial.cost

        depths: dict[float, _Trial] = {}
        for trial in tried(self._of_depth()):
            depths[trial.move.push] = min(depths.get(trial.move.push, trial), trial, key=cost)
        found = []
        for best in sorted(depths.values(), key=cost)[:_DEPTHS]:
            for moves in (self._of_arm, self._of_wrist, self._of_fingers, self._of_wrist):
                best = min((best, *tried(moves(best.move), best.cost)), key=cost)
            found.append(best)
        best = min(found, key=cost)
        return best.pose, best.on_skin

    def ordered(self, dressed: torch.Tensor, bare: torch.Tensor) -> torch.Tensor:
        """Find the depth of a found hand: before the body where its skin shows, under clothes that hide a part of it.

        Args:
            dressed: (H, W) 0 to 1, pixels that show clothes, or things.
            bare: (H, W) 0 to 1, pixels that show skin.

        Returns:
            (P,) the fit with the wrist on its ray, moved as little as pays.
        """

        def placed(x: torch.Tensor) -> torch.Tensor:
            return self._limb.posed(self._limb.transforms(x[None]))[0]

        place = placed(self._x)
        drawn, alone = self._limb.draw(place), self._limb.draw_alone(place, self._hand)
        head = self._parameters.body.part("head") > 0.5  # whose skin cannot be this hand's
        bare = bare * ~((drawn >= 0) & head[self._parameters.body.faces].any(1)[drawn.clamp(min=0)])
        swallowed = alone & ~(self._hand | self._forearm | self._crossing)[drawn.clamp(min=0)]
        joints = self._camera.project(self._joints(self._x))[1:]

        def shown(face: torch.Tensor) -> tuple[float, float, float]:
            """Pixels of clothes and of skin that the hand covers in a face index (H, W), and of skin that the other hand does."""
            hand, other = ((face >= 0) & faces[face.clamp(min=0)] for faces in (self._hand, self._other_hand))
            return float(dressed[hand].sum()), float(bare[hand].sum()), float(bare[other].sum())

        start, whole = shown(drawn), max(float(alone.sum()), 1.0)
        pushes: tuple[float, ...] = ()
        if float(bare[swallowed].sum()) > _SWALLOWED * whole:
            pushes = _OVER
        elif start[1] > 0 and start[1] >= _BARE * sum(start[:2]) and start[0] >= _COVERING * sum(start[:2]):
            pushes = _UNDER
        costs = {0.0: (start[0] - _ASKING * (start[1] + start[2])) / whole}
        for push in pushes:
            x = self._pushed(push)
            clothes, own, others = shown(self._limb.draw(placed(x)))
            aside = (self._camera.project(self._joints(x))[1:] - joints).norm(dim=-1).mean() / self._head
            costs[push] = (clothes - _ASKING * (own + others)) / whole + _MOVING + _PUSHED * abs(push) + _OFF_PLACE * float(aside)
        return self._pushed(min(costs, key=lambda push: costs[push]))

    def on_a_sleeve(self, x: torch.Tensor, dressed: torch.Tensor) -> bool:
        """Whether the hand of a pose lies on the other arm for the most part, and the photo shows clothes (H, W) there."""
        faces = self._parameters.body.faces
        vertices = self._parameters.body.vertices(self._parameters.decode(x))[0]
        face = self._rasterizer.render(Mesh(vertices, faces), self._camera).face_index
        shown = (face >= 0) & self._hand[face.clamp(min=0)]
        below = self._rasterizer.render(Mesh(vertices, faces[~self._hand]), self._camera).face_index
        sleeve = (below >= 0) & self._crossing[~self._hand][below.clamp(min=0)]
        return bool(shown.any()) and float((dressed * sleeve)[shown].mean()) > 0.5

    def closed(self) -> torch.Tensor:
        """(P,) the pose with the hand in a fist: open fingers would reach back into a picture that ends at the wrist."""
        return self._moved([_Move(curl=1.0)])[0]

    def _of_depth(self) -> Iterable[_Move]:
        for push, curl in itertools.product(_PUSHES if self._seen else _PUSHES[:1], _CURLS[::2]):
            yield _Move(push, curl=curl)

    def _of_arm(self, best: _Move) -> Iterable[_Move]:
        stretches = _STRETCHES[:1] if self._seen else _STRETCHES
        for stretch, inward, curl in itertools.product(stretches, _INWARD, _CURLS[::2]):
            yield _Move(best.push, stretch, inward, curl=curl)

    def _of_wrist(self, best: _Move) -> Iterable[_Move]:
        for roll, bend, aside in itertools.product(_ROLLS, _BENDS, _ASIDE):
            yield _Move(best.push, best.stretch, best.inward, roll, bend, aside, best.curl)

    def _of_fingers(self, best: _Move) -> Iterable[_Move]:
        for curl in _CURLS:
            yield _Move(best.push, best.stretch, best.inward, best.roll, best.bend, best.aside, curl)

    def _sunk(self, move: _Move, posed: torch.Tensor, face: torch.Tensor) -> float:
        """Pixels of the forearm that are hidden in a face index (H, W) of the whole body; less if by the other arm."""
        moved = move.push, move.stretch, move.inward, move.roll
        if moved not in self._forearms:
            self._forearms[moved] = self._limb.draw_alone(posed, self._forearm)
        hidden = (self._forearms[moved] & ~self._forearm[face.clamp(min=0)]).float()
        return float((hidden * torch.where(self._crossing[face.clamp(min=0)], _CROSSED, 1.0)).sum())

    def _wrist(self, transforms: torch.Tensor) -> torch.Tensor:
        """(B, 2) pixels."""
        return self._camera.project(self._limb.joint(transforms, self._end_joints[1]))

    def _moved(self, moves: Sequence[_Move]) -> torch.Tensor:
        """(B, P) the fit with each of the moves, within the joints' limits."""
        x = torch.stack([self._pushed(move.push) for move in moves])
        curl = torch.tensor([move.curl for move in moves])[:, None]
        at, bent = self._fist
        x[:, at] += curl * (bent - x[:, at])
        mirrored = 1.0 if self._side == "left" else -1.0
        self._turn(x, "upper_arm_twist", [(0.0, 0.0, mirrored * move.inward) for move in moves])
        self._turn(x, "forearm_twist", [(0.0, 0.0, mirrored * move.roll) for move in moves])
        self._turn(x, "elbow", [(move.stretch, 0.0, 0.0) for move in moves])
        self._turn(x, "wrist", [(move.bend, move.aside, 0.0) for move in moves])
        return x

    @cached_property
    def _fist(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Unknowns that bend fingers, and the radians of each in a fist."""
        found = {}
        for names, fist in ((_FINGERS, _FIST), (("thumb",), _THUMB)):
            for name, (phalanx, bend) in itertools.product(names, fist.items()):
                at = self._parameters.group_slice(f"{self._side}_{name}{phalanx}")
                if at is not None:
                    found[at.start] = bend
        return torch.tensor(list(found), dtype=torch.int64), torch.tensor(list(found.values()))

    def _pushed(self, distance: float) -> torch.Tensor:
        """(P,) the fit with the hand ``distance`` meters farther back, and elbow, wrist and knuckles where the picture has them.

        Negative: forward. Of a hand that was not found only the wrist counts.
        """
        if distance not in self._bases:
            free = torch.zeros_like(self._x, dtype=torch.bool)
            for name in ("shoulder", "upper_arm_twist", "elbow", *(("forearm_twist", "wrist") if self._found else ())):
                if (at := self._at[name]) is not None:
                    free[at] = True
            low, high = self._x.clone(), self._x.clone()
            anatomy, pose = self._parameters.anatomy, self._parameters.layout.pose
            low[pose] = torch.where(free[pose], anatomy.low.flatten(), low[pose])
            high[pose] = torch.where(free[pose], anatomy.high.flatten(), high[pose])
            start = self._joints(self._x)
            ray = torch.nn.functional.normalize(start - self._camera.position, dim=-1)
            target = torch.cat([start[:1], start[1:] + distance * ray[1:]])
            aside = torch.eye(3) - ray[0, :, None] * ray[0]
            still = (torch.eye(3) / _WRIST_OFF).expand(len(start) - 1, 3, 3)
            reach = Places(self._ends, target, torch.cat([aside[None] / _ELBOW_ASIDE, still]))
            nearest = self._bases[max((d for d in self._bases if d * distance >= 0 and abs(d) < abs(distance)), key=abs)]
            near = Prior.near(self._x, free.float(), low, high)
            self._bases[distance] = minimize(self._kinematics, nearest, [reach], near, free, _STEPS)
        return self._bases[distance]

    def _joints(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3) where ``_ends`` are."""
        return self._kinematics.world(self._kinematics.pose(x), self._ends)

    def _turn(self, x: torch.Tensor, name: str, angles: Sequence[tuple[float, float, float]]) -> None:
        """Turn a joint of poses x (B, P) by angles (B, 3), radians; a pose that does not turn is left alone."""
        at, turned = self._at[name], torch.tensor(angles)
        if at is not None:
            anatomy, number = self._parameters.anatomy, self._parameters.anatomy.number[f"{self._side}_{name}"]
            inside = torch.minimum(torch.maximum(x[:, at] + turned, anatomy.low[number]), anatomy.high[number])
            x[:, at] = torch.where(turned.any(1, keepdim=True), inside, x[:, at])
