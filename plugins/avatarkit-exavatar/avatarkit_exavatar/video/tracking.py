"""Tracks a body through consecutive frames: frame by frame from the one before, then all together."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from avatarkit.interfaces import Context, Subject
from avatarkit.types.body import BodyParams
from avatarkit.types.camera import Camera
from avatarkit_exavatar.body.kinematics import Kinematics
from avatarkit_exavatar.body.parameters import Parameters
from avatarkit_exavatar.body.points import Identity, Points
from avatarkit_exavatar.config import ExAvatarConfig
from avatarkit_exavatar.fitting.priors import make_prior
from avatarkit_exavatar.fitting.residuals import Term
from avatarkit_exavatar.fitting.smoothing import joint_step, stiffness_for
from avatarkit_exavatar.fitting.solver import Normal, Prior, minimize, normal_equations, total_cost
from avatarkit_exavatar.observations.landmarks import landmark_terms, set_points
from avatarkit_exavatar.observations.observation import Observation, Observations, observe
from avatarkit_exavatar.photo.initialization import camera_distance, find_pose
from avatarkit_exavatar.video.landmark_bias import PersonalLandmarks, shake
from avatarkit_exavatar.video.shared_shape import agreed_shape
from avatarkit_exavatar.video.texture_tracking import PhotoTexture, Sighting

__all__ = ["VideoTracker", "scenes"]

logger = logging.getLogger("avatarkit.exavatar")

_LOST = 3.0  # a frame that fits so much worse than usual is sought anew
_HELPED, _WORSE = 0.9, 1.5  # of the cost: what a search must reach to be of use; when one that was of none is tried again
_UNSEEN = 0.02  # of the prior's firmness where only other frames say something: they know better
_LEAP_METERS, _LEAP_SPEED = 0.35, 6.0  # meters in one frame, meters per second: more is a cut
_GLIMPSE = 2  # frames to either side of one that shows a hand in which its arm is known well
_OVERLAP = 8  # frames of the next window that a window looks ahead to


@dataclass
class VideoTracker:
    """One person with a known shape, in a sequence.

    Attributes:
        parameters: with the person's shape as a constant; that of a stranger is a first guess.
        subject: the person and the photo; None for a stranger.
    """

    parameters: Parameters
    config: ExAvatarConfig
    context: Context
    subject: Subject | None = None

    def __post_init__(self) -> None:
        self._know(self.parameters)
        self._personal: PersonalLandmarks | None = None
        self._texture: PhotoTexture | None = None
        self._sightings: dict[int, Sighting] = {}  # frame -> where it shows the photo

    def _know(self, parameters: Parameters) -> None:
        """From here on the person has the shape of ``parameters``."""
        assert parameters.shape is not None
        self.parameters = parameters
        self._identity = Identity(parameters.body, parameters.shape, movable=False)
        self._kinematics = Kinematics(parameters.body, parameters, self._identity)
        self._points: dict[str, Points] = {}

    def run(
        self,
        observations: Observations,
        cameras: Sequence[Camera],
        fps: float,
        initial: BodyParams | None,
        images: Iterable[np.ndarray] | None,
    ) -> torch.Tensor:
        """(T, P) smoothed vectors; the shape of a stranger is a better one afterwards."""
        hands = {side: any(o is not None and o.visible[f"{side}_hand"] for o in observations) for side in ("left", "right")}
        prior = make_prior(self.parameters.body, self.parameters, self.config, hands)
        if self.subject is not None:
            photo = self.subject
            there = self.parameters.encode(photo.params)
            prior = replace(prior, mean=there)  # what the clip does not show is as in the photo
            seen = observe(photo.keypoints, self.parameters.body, photo.matte.alpha)
            self._personal = PersonalLandmarks.learn(self._kinematics, seen, photo.camera, there, shake(observations))
            if images is not None:
                meshes = self.context.get("renderer").meshes
                self._texture = PhotoTexture(photo, self._identity, meshes, seen.head_pixels)
        x, valid = self._forward(observations, cameras, prior, initial, images)
        if self.subject is None:
            parameters, x = agreed_shape(self.parameters, self.config, observations, cameras, x)
            self._know(parameters)
        for start, stop in scenes(x[:, self.parameters.layout.translation], valid, fps):
            x[start:stop] = self._smooth(x[start:stop], observations, start, cameras, prior, fps)
        return x

    def _known(self, observation: Observation) -> dict[str, Points]:
        """Return the body's points of the sets that a frame shows; they are the same in all frames."""
        for name, seen in observation.sets.items():
            if name not in self._points:
                self._points[name] = set_points(self._identity, seen)
        points = {name: self._points[name] for name in observation.sets}
        return points if self._personal is None else self._personal.points(points, observation)

    def _terms(self, observation: Observation, camera: Camera, x: torch.Tensor, sighting: Sighting | None = None) -> list[Term]:
        points = self._known(observation)
        distance = camera_distance(self.parameters, camera, x)
        terms = landmark_terms(points, observation, camera, distance, self.config, set(points), steady=True)
        if sighting is not None and self._texture is not None:
            terms += self._texture.terms(sighting, camera, observation.head_pixels, self.config.texture_weight)
        return terms

    def _forward(
        self,
        observations: Observations,
        cameras: Sequence[Camera],
        prior: Prior,
        initial: BodyParams | None,
        images: Iterable[np.ndarray] | None,
    ) -> tuple[torch.Tensor, list[bool]]:
        """(T, P) each frame on its own, started from its neighbor or from ``initial``; and which frames were seen."""
        rows: list[torch.Tensor | None] = []
        seen: list[bool] = []
        last: torch.Tensor | None = None
        usual: list[float] = []
        vain = 0.0  # the cost up to which a search is of no use: the last one, a moment ago, was not
        steps = self.config.video_iterations if initial is None else self.config.retrack_iterations
        pictures = iter(() if images is None else images)
        for number, (observation, camera) in enumerate(zip(observations, cameras, strict=True)):
            image = next(pictures, None)
            self.context.progress("tracking", 0.6 * number / len(observations))
            given = None if initial is None else self.parameters.encode(initial[number])
            seen.append(observation is not None)
            if observation is None:
                rows.append(given)
                continue
            start = given if given is not None else last
            if start is None:
                last, cost = self._search(observation, camera, prior)
            else:
                last, cost = self._descend(observation, camera, prior, start, steps)
                lost = bool(usual) and cost > _LOST * sorted(usual)[len(usual) // 2]
                if lost and cost > vain:
                    anew, better = self._search(observation, camera, prior)
                    vain = _WORSE * cost if better > _HELPED * cost else 0.0
                    if better < cost:
                        last, cost = anew, better
                elif not lost:
                    vain = 0.0
            usual = [*usual[-30:], cost]
            if image is not None:
                last = self._closer(number, image, observation, camera, prior, last)
            rows.append(last)
        return _bridged(rows, self.parameters.encode(self.parameters.body.neutral())), seen

    def _closer(
        self, number: int, image: np.ndarray, observation: Observation, camera: Camera, prior: Prior, x: torch.Tensor
    ) -> torch.Tensor:
        """(P,) improved by where the frame itself shows the photo, which is kept for the smoothing."""
        if self._texture is None:
            return x
        for _ in range(self.config.texture_rounds):
            sighting = self._texture.find(image, camera, self.parameters.decode(x))
            if sighting is None:
                break
            self._sightings[number] = sighting
            x, _ = self._descend(observation, camera, prior, x, self.config.video_iterations, sighting)
        return x

    def _descend(
        self,
        observation: Observation,
        camera: Camera,
        prior: Prior,
        x: torch.Tensor,
        iterations: int,
        sighting: Sighting | None = None,
    ) -> tuple[torch.Tensor, float]:
        terms = self._terms(observation, camera, x, sighting)
        free = torch.ones(self.parameters.layout.size, dtype=torch.bool)
        x = minimize(self._kinematics, x, terms, prior, free, iterations, damping=1e-3, tolerance=5e-3)
        return x, total_cost(self._kinematics, self._kinematics.pose(x), terms, prior)

    def _search(self, observation: Observation, camera: Camera, prior: Prior) -> tuple[torch.Tensor, float]:
        """Return a frame without a neighbor to start from."""
        x = find_pose(self._kinematics, self._known(observation), observation, camera, prior, self.config)
        return self._descend(observation, camera, prior, x, self.config.pose_iterations)

    def _smooth(
        self,
        x: torch.Tensor,
        observations: Observations,
        first: int,
        cameras: Sequence[Camera],
        prior: Prior,
        fps: float,
    ) -> torch.Tensor:
        """(T, P) windows of frames improved together; the frames begin at number ``first``."""
        x = x.clone()
        size, total = self.config.smoothing_window, len(x)
        for start in range(0, total, size):
            self.context.progress("smoothing", 0.6 + 0.4 * (first + start) / len(observations))
            stop = min(total, start + size + _OVERLAP)
            window = observations[first + start : first + stop]
            before = x[max(0, start - 2) : start]
            shown = torch.stack([self._shown(o) for o in window])
            bridged = ~shown & shown.any(0)
            cutoff, fast = self._pace(window, fps)
            for _ in range(self.config.smoothing_rounds):
                normals = [
                    self._model(x[t], window[k], cameras[first + t], _loosened(prior, bridged[k]), self._sightings.get(first + t))
                    for k, t in enumerate(range(start, stop))
                ]
                diagonals = torch.stack([n.hessian.diagonal() for n in normals])
                stiffness = stiffness_for(diagonals, shown, cutoff, fps)
                free = torch.ones(x.shape[1], dtype=torch.bool)
                x[start:stop] = joint_step(normals, x[start:stop], stiffness, fast, before, prior.low, prior.high, free)
        return x

    def _model(
        self, x: torch.Tensor, observation: Observation | None, camera: Camera, prior: Prior, sighting: Sighting | None
    ) -> Normal:
        """Quadratic model of one frame."""
        terms = [] if observation is None else self._terms(observation, camera, x, sighting)
        return normal_equations(self._kinematics, self._kinematics.pose(x), terms, prior)

    def _shown(self, observation: Observation | None) -> torch.Tensor:
        """(P,) bool, unknowns of which a frame says something."""
        at, par = self.parameters.layout, self.parameters
        if observation is None:
            return torch.zeros(at.size, dtype=torch.bool)
        shown = torch.ones(at.size, dtype=torch.bool)
        shown[at.expression] = observation.visible["face"]
        for side in ("left", "right"):
            if not observation.visible[f"{side}_hand"]:
                shown[at.pose] &= ~par.fingers(side)
            if f"{side}_elbow" in observation.hidden:
                shown[at.pose] &= ~par.arm(side)
            elif not observation.visible[f"{side}_arm"]:
                shown[at.pose] &= ~par.forearm(side)
        return shown

    def _pace(self, window: Sequence[Observation | None], fps: float) -> tuple[torch.Tensor, torch.Tensor]:
        """(T, P) hertz above which movement is taken for noise, and (T, P) accelerations per frame squared that are none.

        Arms are known well enough to be let go while their hands are seen; a wrist alone is off by centimeters in every frame.
        """
        at, par = self.parameters.layout, self.parameters
        cutoff = torch.full((len(window), at.size), self.config.body_cutoff)
        fast = torch.full_like(cutoff, torch.inf)
        cutoff[:, at.expression] = self.config.face_cutoff
        fast[:, at.pose] = self.config.fast_gesture / fps**2
        for side in ("left", "right"):
            cutoff[:, at.pose][:, par.fingers(side)] = self.config.hand_cutoff
            seen = torch.tensor([o is not None and o.visible[f"{side}_hand"] for o in window])
            near = torch.nn.functional.max_pool1d(seen.float()[None], 2 * _GLIMPSE + 1, 1, _GLIMPSE)[0] > 0
            arm = par.arm(side)
            cutoff[:, at.pose][:, arm] = torch.where(near, self.config.arm_cutoff, self.config.body_cutoff)[:, None]
            fast[:, at.pose][:, arm] = torch.where(near, self.config.fast_gesture / fps**2, torch.inf)[:, None]
        return cutoff, fast


def _loosened(prior: Prior, bridged: torch.Tensor) -> Prior:
    """Return the prior with less say on unknowns (P,) that this frame does not show and others do."""
    factor = torch.where(bridged, _UNSEEN, 1.0)
    return replace(prior, precision=prior.precision * factor, sparsity=prior.sparsity * factor)


def scenes(translation: torch.Tensor, seen: Sequence[bool], fps: float) -> list[tuple[int, int]]:
    """Return start and stop of the shots: between shots a person moves faster than people can.

    A single frame that fits badly is not a cut: the jump has to last.

    Args:
        translation: (T, 3) meters.
        seen: T.
        fps: frames per second.
    """
    leap = max(_LEAP_METERS, _LEAP_SPEED / fps)
    step = translation.diff(dim=0).norm(dim=-1)

    def lasts(t: int) -> bool:
        before = translation[max(0, t - 2) : t + 1].median(0).values
        after = translation[t + 1 : t + 4].median(0).values
        return float((after - before).norm()) > leap

    cuts = [t + 1 for t in range(len(step)) if seen[t] and seen[t + 1] and step[t] > leap and lasts(t)]
    return list(zip([0, *cuts], [*cuts, len(translation)], strict=True))


def _bridged(rows: list[torch.Tensor | None], rest: torch.Tensor) -> torch.Tensor:
    """(T, P) with gaps filled by straight lines between their ends; ``rest`` where nothing was ever seen."""
    known = [k for k, row in enumerate(rows) if row is not None]
    if not known:
        return rest.repeat(len(rows), 1)
    out = []
    for k, row in enumerate(rows):
        if row is None:
            left = max((i for i in known if i < k), default=known[0])
            right = min((i for i in known if i > k), default=known[-1])
            a, b = rows[left], rows[right]
            assert a is not None and b is not None
            row = torch.lerp(a, b, (k - left) / (right - left)) if right > left else a
        out.append(row)
    return torch.stack(out)
