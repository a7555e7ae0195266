"""One shape for several pictures of the same person, each in its own pose.

A single picture determines the lengths of trunk and limbs badly: they are foreshortened, and landmarks err by centimeters. Poses
differ from frame to frame and the shape does not, so all frames are fitted together. The poses are coupled only through the
shape: each is eliminated separately (Schur complement), so a step costs as much as separate steps for every frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from avatarkit.types.camera import Camera
from avatarkit_exavatar.body.kinematics import Kinematics
from avatarkit_exavatar.body.parameters import Parameters
from avatarkit_exavatar.body.points import Identity, Points
from avatarkit_exavatar.config import ExAvatarConfig
from avatarkit_exavatar.fitting.priors import make_prior
from avatarkit_exavatar.fitting.residuals import Term
from avatarkit_exavatar.fitting.self_collision import clearance
from avatarkit_exavatar.fitting.solver import Normal, Prior, held_by_bounds, moved, normal_equations, total_cost
from avatarkit_exavatar.observations.landmarks import landmark_terms, set_points
from avatarkit_exavatar.observations.observation import Observation, Observations
from avatarkit_exavatar.photo.initialization import camera_distance, find_pose

__all__ = ["SharedShape", "agreed_shape", "first_shape"]

_ALIKE = 0.5  # detectors err alike in all frames: T of them tell as much as T to this power would that err by chance
_ROUNDS = 2  # how often the body is linearised anew


def first_shape(
    parameters: Parameters, config: ExAvatarConfig, observations: Observations, cameras: Sequence[Camera]
) -> Parameters:
    """With the shape of a few frames, each of whose pose is sought from nothing."""
    shared = SharedShape(parameters, config, _chosen(observations, cameras, config.shape_frames))
    x = shared.fit(shared.fit(shared.start(), details=False), details=True)
    return parameters.knowing(x[0, parameters.layout.shape])


def agreed_shape(
    known: Parameters, config: ExAvatarConfig, observations: Observations, cameras: Sequence[Camera], x: torch.Tensor
) -> tuple[Parameters, torch.Tensor]:
    """Return the shape that many frames agree on, and the frames (T, P) with what it changes in a pose on average.

    Args:
        known: with the shape so far.
        config: options of the tracker.
        observations: what the pictures show.
        cameras: one per frame.
        x: (T, P) frames tracked with it.
    """
    parameters = Parameters(known.body, known.anatomy)
    frames = _chosen(observations, cameras, config.shared_frames)
    assert known.shape is not None
    before = torch.cat([x[[f.number for f in frames]], known.shape.expand(len(frames), -1)], 1)
    after = SharedShape(parameters, config, frames).fit(before, details=True)
    shape = parameters.layout.shape
    return parameters.knowing(after[0, shape]), x + (after - before)[:, : shape.start].mean(0)


@dataclass(frozen=True)
class _Frame:
    """One picture of the person, with its number in the video."""

    number: int
    observation: Observation
    camera: Camera


def _chosen(observations: Observations, cameras: Sequence[Camera], count: int) -> list[_Frame]:
    """Frames that say much about the shape, spread over the better half."""
    worth = sorted((-_worth(o), k) for k, o in enumerate(observations) if o is not None)
    better = sorted(k for _, k in worth[: max(count, len(worth) // 2)])
    numbers = [better[k * len(better) // count] for k in range(count)] if len(better) > count else better
    return [_Frame(k, o, cameras[k]) for k in numbers if (o := observations[k]) is not None]


def _worth(observation: Observation) -> float:
    """How much a frame says about the shape."""
    sets = observation.sets
    body = sets["pose33"].weight.mean().item() if "pose33" in sets else 0.0
    return len(sets) + 2 * ("face478" in sets) + body


class SharedShape:
    """Fits the shape and one pose per frame.

    Args:
        parameters: with the shape among the unknowns. frames: at least one, of the same person.
    """

    def __init__(self, parameters: Parameters, config: ExAvatarConfig, frames: Sequence[_Frame]) -> None:
        self._parameters, self._config, self._frames = parameters, config, frames
        self._priors = [self._prior(frame.observation) for frame in frames]

    def _prior(self, observation: Observation) -> Prior:
        """Of one frame; the shape's is divided among the frames."""
        at, seen = self._parameters.layout, observation.visible
        hands = {side: seen[f"{side}_hand"] for side in ("left", "right")}
        prior = make_prior(self._parameters.body, self._parameters, self._config, hands)
        share = torch.ones(at.size)
        share[at.shape] = len(self._frames) ** -_ALIKE
        return replace(prior, precision=prior.precision * share, pair_precision=prior.pair_precision * share[prior.pairs[:, 0]])

    def start(self) -> torch.Tensor:
        """(T, P) the pose of every frame, sought from nothing with an average shape."""
        parameters, x = self._parameters, []
        identity = Identity(parameters.body, parameters.body.neutral().shape, movable=False)
        kinematics = Kinematics(parameters.body, parameters, identity)
        for frame, prior in zip(self._frames, self._priors, strict=True):
            points = {name: set_points(identity, seen) for name, seen in frame.observation.sets.items()}
            x.append(find_pose(kinematics, points, frame.observation, frame.camera, prior, self._config))
        return torch.stack(x)

    def fit(self, x: torch.Tensor, details: bool) -> torch.Tensor:
        """(T, P) improved vectors, with one shape in all.

        Args:
            x: (T, P), with one shape in all.
            details: whether every shape number is free, or those of the general build alone.
        """
        at, body, free = self._parameters.layout, self._parameters.body, self._parameters.free(details)
        for _ in range(_ROUNDS):
            identity = Identity(body, x[0, at.shape], movable=True)
            kinematics = Kinematics(body, self._parameters, identity)
            known: dict[str, Points] = {}
            terms = [self._terms(known, kinematics, frame, row) for frame, row in zip(self._frames, x, strict=True)]
            x = self._descend(kinematics, terms, x, free)
        return x

    def _terms(self, known: dict[str, Points], kinematics: Kinematics, frame: _Frame, x: torch.Tensor) -> list[Term]:
        seen = frame.observation
        for name in seen.sets.keys() - known.keys():
            known[name] = set_points(kinematics.identity, seen.sets[name])
        distance = camera_distance(self._parameters, frame.camera, x)
        terms = landmark_terms(known, seen, frame.camera, distance, self._config, set(seen.sets), steady=True)
        return [*terms, clearance(kinematics.identity, self._config.clearance_weight)]

    def _descend(
        self, kinematics: Kinematics, terms: Sequence[Sequence[Term]], x: torch.Tensor, free: torch.Tensor
    ) -> torch.Tensor:
        """(T, P) after damped steps downhill."""
        damping, normals, cost = 1e-3, None, 0.0
        for _ in range(self._config.shape_iterations):
            if normals is None:
                normals = [
                    normal_equations(kinematics, kinematics.pose(row), mine, prior, free)
                    for row, mine, prior in zip(x, terms, self._priors, strict=True)
                ]
                cost = sum(n.cost for n in normals)
            other = self._step(normals, x, free, damping)
            reached = sum(
                total_cost(kinematics, kinematics.pose(row), mine, prior)
                for row, mine, prior in zip(other, terms, self._priors, strict=True)
            )
            if reached >= cost:
                damping *= 6
                continue
            damping, x, normals = damping / 4, other, None
            if cost - reached < 1e-3 * cost:
                break
        return x

    def _step(self, normals: Sequence[Normal], x: torch.Tensor, free: torch.Tensor, damping: float) -> torch.Tensor:
        """(T, P) next vectors."""
        at = self._parameters.layout
        low, high = self._priors[0].low, self._priors[0].high
        gradient = torch.stack([n.gradient for n in normals])
        gradient[:, at.shape] = gradient[:, at.shape].sum(0)
        move = free & ~held_by_bounds(x, gradient, low, high)  # (T, P); the shape's part is the same in all frames
        shape = torch.arange(at.size)[at.shape]
        shape = shape[move[0, at.shape]]
        left, right = torch.zeros(len(shape), len(shape), dtype=torch.float64), torch.zeros(len(shape), dtype=torch.float64)
        eliminated = []
        for normal, mine in zip(normals, move, strict=True):
            own = mine[: at.shape.start].nonzero()[:, 0]
            H = normal.hessian.double()
            H.diagonal().mul_(1 + damping).add_(1e-9)
            factor = torch.linalg.cholesky(H[own][:, own])
            both = torch.cat([H[own][:, shape], normal.gradient[own, None].double()], 1)
            solved = torch.cholesky_solve(both, factor)
            across = both[:, :-1]
            left += H[shape][:, shape] - across.T @ solved[:, :-1]
            right -= normal.gradient[shape].double() - across.T @ solved[:, -1]
            eliminated.append((own, solved))
        change = torch.zeros_like(x)
        by_shape = torch.linalg.solve(left, right)
        change[:, shape] = by_shape.float()
        for row, (own, solved) in zip(change, eliminated, strict=True):
            row[own] = -(solved[:, -1] + solved[:, :-1] @ by_shape).float()
        return moved(x, change, low, high)
