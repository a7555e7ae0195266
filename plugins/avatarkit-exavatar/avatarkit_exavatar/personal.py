"""What the photo taught about one person's landmarks, for the frames of a clip.

A detector puts shoulders, chin and knuckles a little elsewhere on everybody, and the table of where landmarks lie on the
body model is an average over people. The photo is fitted to more than landmarks (silhouette, surface), so what is left
between a landmark and its pixel there is this person's own. Carried along with the body it is taken out of every frame:
the photo's pose is then the best fit of the photo's landmarks, and clips join it without a jump.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from avatarkit.body import JointLandmarks
from avatarkit.camera import Camera
from avatarkit_exavatar.kinematics import Kinematics
from avatarkit_exavatar.landmarks import set_points
from avatarkit_exavatar.observation import Observation
from avatarkit_exavatar.points import Points

__all__ = ["PersonalLandmarks"]

_KNOWN = 0.25  # trust of a body or hand point from which its place is learnt
_FARTHEST = 3.0  # times the table's sigma; more is a mistake, not a person
_SURER = 0.5  # of the table's sigma is left once the person is known
# Body points whose rough depth moves with that of a shoulder or a hip.
_CARRIED = {11: (13, 15, 17, 19, 21), 12: (14, 16, 18, 20, 22), 23: (25, 27, 29, 31), 24: (26, 28, 30, 32)}


@dataclass(frozen=True)
class PersonalLandmarks:
    """Corrections of the landmark tables for one person.

    Attributes:
        offsets: set name -> (n, 3) metres in rest space, zero where nothing was learnt.
        learnt: set name -> (n,) bool.
        depth: (n, 3) metres, what to add to the rough 3D of the body set so that its trunk agrees with the photo's fit; or None.
    """

    offsets: Mapping[str, torch.Tensor]
    learnt: Mapping[str, torch.Tensor]
    depth: torch.Tensor | None

    @staticmethod
    def learn(kinematics: Kinematics, observation: Observation, camera: Camera, x: torch.Tensor) -> PersonalLandmarks:
        """Compares the landmarks of the photo with those of its fit.

        Args:
            kinematics: with the person's shape. observation: of the photo. camera: of the photo. x: (P,) its fit.
        """
        posed = kinematics.pose(x)
        offsets, learnt, depth = {}, {}, None
        for name, seen in observation.sets.items():
            points = set_points(kinematics.identity, seen)
            world = kinematics.world(posed, points)
            aimed = _on_ray(camera, seen.pixels, camera.to_camera(world)[:, 2])
            turn = (points.weights @ posed.transforms[:, :3, :3].reshape(-1, 9)).reshape(-1, 3, 3)
            offset = torch.linalg.solve(turn, aimed - world)
            known = seen.weight > (0.0 if name == "face478" else _KNOWN)
            limit = _FARTHEST * seen.sigma / offset.norm(dim=-1).clamp_min(1e-9)
            offsets[name] = offset * limit.clamp_max(1.0)[:, None] * known[:, None]
            learnt[name] = known
            if name == "pose33" and seen.depth is not None and isinstance(seen.table, JointLandmarks):
                depth = _depth_shift(world @ camera.T_camera_world[:3, :3].T, seen.depth, seen.table, known)
        return PersonalLandmarks(offsets, learnt, depth)

    def points(self, name: str, points: Points) -> Points:
        """The body's points of a set, where this person has them."""
        return replace(points, rest=points.rest + self.offsets[name]) if name in self.offsets else points

    def observation(self, observation: Observation) -> Observation:
        """A frame's landmarks, surer by what is known of the person."""
        sets = dict(observation.sets)
        for name, seen in sets.items():
            if name in self.learnt:
                sigma = torch.where(self.learnt[name], _SURER * seen.sigma, seen.sigma)
                shifted = name == "pose33" and seen.depth is not None and self.depth is not None
                sets[name] = replace(seen, sigma=sigma, depth=seen.depth + self.depth if shifted else seen.depth)  # type: ignore[operator]
        return replace(observation, sets=sets)


def _on_ray(camera: Camera, pixels: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """(n, 3) world points behind pixels (n, 2) at depths (n,)."""
    K, T = camera.K, camera.T_camera_world
    focal = torch.stack([K[0, 0], K[1, 1]])
    seen = torch.cat([(pixels - K[:2, 2]) / focal, torch.ones(len(pixels), 1)], 1) * z[:, None]
    return (seen - T[:3, 3]) @ T[:3, :3]


def _depth_shift(
    fitted: torch.Tensor, rough: torch.Tensor, table: JointLandmarks, known: torch.Tensor
) -> torch.Tensor | None:
    """What turns the rough 3D of shoulders and hips into the fitted one, in camera axes; limbs go along with them."""
    row = {int(number): k for k, number in enumerate(table.index)}
    trunk = [row[number] for number in _CARRIED if number in row and known[row[number]]]
    if len(trunk) < 2:
        return None
    error = (fitted[trunk] - fitted[trunk].mean(0)) - (rough[trunk] - rough[trunk].mean(0))
    shift = torch.zeros_like(rough)
    for k, number in enumerate(n for n in _CARRIED if n in row and known[row[n]]):
        for moved in (number, *_CARRIED[number]):
            if moved in row:
                shift[row[moved]] = error[k]
    return shift
