"""What the photo taught about one person's landmarks, for the frames of a clip.

A detector puts shoulders, chin and knuckles a little elsewhere on everybody, and the table of where landmarks lie on the
body model is an average over people. The photo is fitted to more than landmarks (silhouette, surface), so what is left
between a landmark and its pixel there is this person's own, or chance. How much chance there is shows in the clip, as far as
landmarks shake from frame to frame; the rest is carried along with the body and taken out of every frame: the photo's pose is
then the best fit of the photo's landmarks, and clips join it without a jump.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from avatarkit.body import JointLandmarks
from avatarkit.camera import Camera
from avatarkit_exavatar.kinematics import Kinematics
from avatarkit_exavatar.landmarks import set_points
from avatarkit_exavatar.observation import Observation, Observations
from avatarkit_exavatar.points import Points

__all__ = ["PersonalLandmarks", "Shake", "shake"]

_KNOWN = 0.25  # trust from which a point was seen rather than guessed
_FARTHEST = 3.0  # times the table's sigma; more, where a point is seen, is a mistake and not a person
_SURER = 0.5  # of the table's sigma is left once the person is known
_NEAR = 0.5  # head heights from its place in the photo within which a point is as it was there
# Body points whose rough depth moves with that of a shoulder or a hip.
_DEPTH_SPREAD = 0.04  # metres by which the rough depth of people differs
_LOOKS = 120  # triples of frames that tell how landmarks shake
_CARRIED = {11: (13, 15, 17, 19, 21), 12: (14, 16, 18, 20, 22), 23: (25, 27, 29, 31), 24: (26, 28, 30, 32)}


@dataclass(frozen=True)
class Shake:
    """How far the n landmarks of a set are off by chance: standard deviation per axis.

    Attributes:
        pixels: (n,). depth: (n,) metres of the rough positions, or None.
    """

    pixels: torch.Tensor
    depth: torch.Tensor | None


def shake(observations: Observations) -> dict[str, Shake]:
    """Set name -> what second differences of consecutive frames tell; fast gestures count as chance, too."""
    triples = range(1, len(observations) - 1)
    bends: dict[str, list[torch.Tensor]] = {}
    depths: dict[str, list[torch.Tensor]] = {}
    for k in triples[:: max(1, len(triples) // _LOOKS)]:
        found = [observations[k + step] for step in (-1, 0, 1)]
        seen = [o for o in found if o is not None]
        for name in seen[0].sets if len(seen) == 3 else ():
            sets = [o.sets[name] for o in seen if name in o.sets]
            if len(sets) == 3:
                bends.setdefault(name, []).append(_bend([s.pixels for s in sets]))
                rough = [s.depth for s in sets if s.depth is not None]
                if len(rough) == 3:
                    depths.setdefault(name, []).append(_bend(rough))
    return {
        # medians of the length of normally distributed vectors with two and with three axes
        name: Shake(
            torch.stack(bend).median(0).values / (1.177 * math.sqrt(6)),
            torch.stack(depths[name]).median(0).values / (1.538 * math.sqrt(6)) if name in depths else None,
        )
        for name, bend in bends.items()
    }


def _bend(places: list[torch.Tensor]) -> torch.Tensor:
    """(n,) size of the second difference of points (n, D) in three frames."""
    before, now, after = places
    return (before - 2 * now + after).norm(dim=-1)


@dataclass(frozen=True)
class _Learnt:
    """One set of landmarks.

    Attributes:
        pixels: (n, 2) in the photo.
        offset: (n, 3) metres in rest space, from where the table has a point to where the detector put it in the photo.
        lasting: (n, 3) what of it is believed in any pose.
        depth: (n, 3) metres in camera axes, what turns the rough 3D of the photo into its fit. None without rough 3D.
        lasting_depth: (n, 3) the same for the trunk, with limbs going along.
        sure: (n,) 0 to 1, how much of the error in the photo is the person's and not chance.
    """

    pixels: torch.Tensor
    offset: torch.Tensor
    lasting: torch.Tensor
    depth: torch.Tensor | None
    lasting_depth: torch.Tensor | None
    sure: torch.Tensor


@dataclass(frozen=True)
class PersonalLandmarks:
    """Corrections of the landmark tables for one person.

    Where a point is about where it was in the photo, even a guessed one, the detector errs as it did there; of what it was
    found to err there, only as much lasts in other poses as people differ.

    Attributes:
        sets: name -> what was learnt.
        sure: 0 to 1, how much of the error of the rough 3D in the photo is the person's and not chance.
    """

    sets: Mapping[str, _Learnt]
    sure: float = 1.0

    @staticmethod
    def learn(
        kinematics: Kinematics, observation: Observation, camera: Camera, x: torch.Tensor, chance: Mapping[str, Shake]
    ) -> PersonalLandmarks:
        """Compares the landmarks of the photo with those of its fit.

        Args:
            kinematics: with the person's shape. observation: of the photo. camera: of the photo. x: (P,) its fit.
            chance: set name -> how landmarks shake in the clip.
        """
        posed = kinematics.pose(x)
        sets, sure_depth = {}, 1.0
        for name, found in observation.sets.items():
            points = set_points(kinematics.identity, found)
            world = kinematics.world(posed, points)
            z = camera.to_camera(world)[:, 2]
            aimed = _on_ray(camera, found.pixels, z)
            shaken = chance.get(name)
            sure = torch.ones(len(z)) if shaken is None else _share(found.sigma, shaken.pixels * z / camera.K[0, 0])
            turn = (points.weights @ posed.transforms[:, :3, :3].reshape(-1, 9)).reshape(-1, 3, 3)
            offset = torch.linalg.solve(turn, aimed - world) * sure[:, None]
            limit = (_FARTHEST * found.sigma / offset.norm(dim=-1).clamp_min(1e-9)).clamp_max(1.0)
            seen = 1.0 if name == "face478" else (found.weight > _KNOWN).float()  # faces are seen whole or not at all
            depth = lasting = None
            if name == "pose33" and found.depth is not None and isinstance(found.table, JointLandmarks):
                depth = world @ camera.T_camera_world[:3, :3].T - found.depth
                if shaken is not None and shaken.depth is not None:
                    share = _share(_DEPTH_SPREAD, shaken.depth)
                    depth, sure_depth = depth * share[:, None], float(share.median())
                lasting = _trunk_shift(depth, found.table)
            sets[name] = _Learnt(found.pixels, offset, offset * (limit * seen)[:, None], depth, lasting, sure)
        return PersonalLandmarks(sets, sure_depth)

    def points(self, points: Mapping[str, Points], observation: Observation) -> dict[str, Points]:
        """The body's points of the sets of a frame, where this person has them."""
        out = dict(points)
        for name in points.keys() & self.sets.keys():
            known = self.sets[name]
            offset = torch.lerp(known.lasting, known.offset, self._near(name, observation))
            out[name] = replace(points[name], rest=points[name].rest + offset)
        return out

    def observation(self, observation: Observation) -> Observation:
        """A frame's landmarks, surer by what is known of the person."""
        sets = dict(observation.sets)
        for name in sets.keys() & self.sets.keys():
            known, found, near = self.sets[name], sets[name], self._near(name, observation)
            lasting = (known.lasting != 0).any(1, keepdim=True) & (found.weight > _KNOWN)[:, None]
            sure = torch.maximum(near, lasting.float())[:, 0] * known.sure
            depth = found.depth
            if depth is not None and known.depth is not None and known.lasting_depth is not None:
                depth = depth + torch.lerp(known.lasting_depth, known.depth, near)
            sets[name] = replace(found, sigma=found.sigma * (1 - (1 - _SURER) * sure), depth=depth)
        return replace(observation, sets=sets)

    def _near(self, name: str, observation: Observation) -> torch.Tensor:
        """(n, 1) 0 to 1, how near each point is to its place in the photo, but for how all of them moved."""
        step = observation.sets[name].pixels - self.sets[name].pixels
        step = step - step.median(0).values
        return torch.exp(-(step / (_NEAR * observation.head_pixels)).square().sum(-1, keepdim=True))


def _share(spread: torch.Tensor | float, noise: torch.Tensor) -> torch.Tensor:
    """(n,) of what was measured once, the part that is to be believed: people differ by ``spread``, chance adds ``noise``."""
    return spread**2 / (spread**2 + noise.square())


def _on_ray(camera: Camera, pixels: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """(n, 3) world points behind pixels (n, 2) at depths (n,)."""
    K, T = camera.K, camera.T_camera_world
    focal = torch.stack([K[0, 0], K[1, 1]])
    there = torch.cat([(pixels - K[:2, 2]) / focal, torch.ones(len(pixels), 1)], 1) * z[:, None]
    return (there - T[:3, 3]) @ T[:3, :3]


def _trunk_shift(error: torch.Tensor, table: JointLandmarks) -> torch.Tensor:
    """The error (n, 3) of shoulders and hips; limbs have that of where they hang, the head none that matters."""
    row = {int(number): k for k, number in enumerate(table.index)}
    shift = error.mean(0).expand_as(error).clone()
    for number, below in _CARRIED.items():
        for moved in (number, *below):
            if number in row and moved in row:
                shift[row[moved]] = error[row[number]]
    return shift
