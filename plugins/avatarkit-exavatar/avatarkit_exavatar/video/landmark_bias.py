"""Corrects the landmarks of a clip by the detector's errors in the photo.

A detector misplaces shoulders, chin and knuckles by a different amount for each person, and the positions of landmarks on the
body model are averages over people. The photo is fitted to its silhouette and surface too, so what remains between a landmark
and its pixel is a bias of this person, or noise. The clip shows how large the noise is: landmarks jitter from frame to frame.
The rest moves with the body and is subtracted in every frame. Then the photo's pose is the best fit of the photo's landmarks,
and the clip begins without a jump.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from avatarkit.types.camera import Camera
from avatarkit_exavatar.body.kinematics import Kinematics
from avatarkit_exavatar.body.points import Points
from avatarkit_exavatar.observations.landmarks import set_points
from avatarkit_exavatar.observations.observation import Observation, Observations

__all__ = ["PersonalLandmarks", "shake"]

_KNOWN = 0.25  # trust from which a point was seen rather than guessed
_FARTHEST = 3.0  # times the table's sigma; more, where a point is seen, is a mistake and not a person
_NEAR = 0.5  # head heights from its place in the photo within which a point is as it was there
_LOOKS = 120  # triples of frames that tell how landmarks shake


def shake(observations: Observations) -> dict[str, torch.Tensor]:
    """Set name -> (n,) how far landmarks are off by chance, standard deviation in pixels per axis.

    It is what second differences of consecutive frames tell; fast gestures count as chance, too.
    """
    triples = range(1, len(observations) - 1)
    bends: dict[str, list[torch.Tensor]] = {}
    for k in triples[:: max(1, len(triples) // _LOOKS)]:
        found = [observations[k + step] for step in (-1, 0, 1)]
        seen = [o for o in found if o is not None]
        for name in seen[0].sets if len(seen) == 3 else ():
            sets = [o.sets[name] for o in seen if name in o.sets]
            if len(sets) == 3:
                bends.setdefault(name, []).append(_bend([s.pixels for s in sets]))
    # the median length of a normally distributed vector with two axes is 1.177
    return {name: torch.stack(bend).median(0).values / (1.177 * math.sqrt(6)) for name, bend in bends.items()}


def _bend(places: list[torch.Tensor]) -> torch.Tensor:
    """(n,) size of the second difference of points (n, D) in three frames."""
    before, now, after = places
    return (before - 2 * now + after).norm(dim=-1)


@dataclass(frozen=True)
class _Learnt:
    """One set of landmarks.

    Attributes:
        pixels: (n, 2) in the photo.
        offset: (n, 3) meters in rest space, from where the table has a point to where the detector put it in the photo.
        lasting: (n, 3) what of it is believed in any pose.
    """

    pixels: torch.Tensor
    offset: torch.Tensor
    lasting: torch.Tensor


@dataclass(frozen=True)
class PersonalLandmarks:
    """Corrections of the landmark tables for one person.

    Where a point is about where it was in the photo, even a guessed one, the detector errs as it did there; of what it was
    found to err there, only as much lasts in other poses as people differ.

    Attributes:
        sets: name -> what was learnt.
    """

    sets: Mapping[str, _Learnt]

    @staticmethod
    def learn(
        kinematics: Kinematics, observation: Observation, camera: Camera, x: torch.Tensor, chance: Mapping[str, torch.Tensor]
    ) -> PersonalLandmarks:
        """Compare the landmarks of the photo with those of its fit.

        Args:
            kinematics: with the person's shape.
            observation: of the photo.
            camera: of the photo.
            x: (P,) its fit.
            chance: set name -> how landmarks shake in the clip.
        """
        posed = kinematics.pose(x)
        sets = {}
        for name, found in observation.sets.items():
            points = set_points(kinematics.identity, found)
            world = kinematics.world(posed, points)
            z = camera.to_camera(world)[:, 2]
            aimed = _on_ray(camera, found.pixels, z)
            shaken = chance.get(name)
            sure = torch.ones(len(z)) if shaken is None else _share(found.sigma, shaken * z / camera.K[0, 0])
            turn = (points.weights @ posed.transforms[:, :3, :3].reshape(-1, 9)).reshape(-1, 3, 3)
            offset = torch.linalg.solve(turn, aimed - world) * sure[:, None]
            limit = (_FARTHEST * found.sigma / offset.norm(dim=-1).clamp_min(1e-9)).clamp_max(1.0)
            seen = 1.0 if name == "face478" else (found.weight > _KNOWN).float()  # faces are seen whole or not at all
            sets[name] = _Learnt(found.pixels, offset, offset * (limit * seen)[:, None])
        return PersonalLandmarks(sets)

    def points(self, points: Mapping[str, Points], observation: Observation) -> dict[str, Points]:
        """Return the body's points of the sets of a frame, where this person has them."""
        out = dict(points)
        for name in points.keys() & self.sets.keys():
            known = self.sets[name]
            offset = torch.lerp(known.lasting, known.offset, self._near(name, observation))
            out[name] = replace(points[name], rest=points[name].rest + offset)
        return out

    def _near(self, name: str, observation: Observation) -> torch.Tensor:
        """(n, 1) 0 to 1, how near each point is to its place in the photo, but for how all of them moved."""
        step = observation.sets[name].pixels - self.sets[name].pixels
        step = step - step.median(0).values
        return torch.exp(-(step / (_NEAR * observation.head_pixels)).square().sum(-1, keepdim=True))


def _share(spread: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """(n,) of what was measured once, the part that is to be believed: people differ by ``spread``, chance adds ``noise``."""
    return spread**2 / (spread**2 + noise.square())


def _on_ray(camera: Camera, pixels: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """(n, 3) world points behind pixels (n, 2) at depths (n,)."""
    K, T = camera.K, camera.T_camera_world
    focal = torch.stack([K[0, 0], K[1, 1]])
    there = torch.cat([(pixels - K[:2, 2]) / focal, torch.ones(len(pixels), 1)], 1) * z[:, None]
    return (there - T[:3, 3]) @ T[:3, :3]
