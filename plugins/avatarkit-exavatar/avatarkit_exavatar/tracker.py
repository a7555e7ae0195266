"""The tracker component."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from avatarkit.appearance.parsing import held_things, vertex_labels
from avatarkit.appearance.skin import bare_surface, skin_likeness
from avatarkit.errors import InputError
from avatarkit.interfaces import BodyModel, Context, MeshRasterizer
from avatarkit.types.body import BodyParams, Motion
from avatarkit.types.camera import Camera, front_camera
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import Mesh
from avatarkit.types.photo import Photo
from avatarkit.types.subject import Matte, Subject
from avatarkit.utils.threads import single_threaded
from avatarkit_exavatar.body.anatomy import anatomy_of
from avatarkit_exavatar.body.parameters import Parameters
from avatarkit_exavatar.config import ExAvatarConfig
from avatarkit_exavatar.observations.contour import hidden_vertices
from avatarkit_exavatar.observations.depth import SteadyDepth
from avatarkit_exavatar.observations.observation import Observation, Observations, observe, thinned
from avatarkit_exavatar.photo.leveling import level
from avatarkit_exavatar.photo.offsets import fit_offsets
from avatarkit_exavatar.photo.quality import judge
from avatarkit_exavatar.photo.registration import PhotoFit
from avatarkit_exavatar.photo.teeth import lower_teeth
from avatarkit_exavatar.video.shared_shape import first_shape
from avatarkit_exavatar.video.tracking import VideoTracker

__all__ = ["ExAvatarTracker"]

_BEYOND_SEEN = 1 / 3  # see ``bare_surface``: an arm that is bare where a hand hides it would be drawn to the outline of the hand


class ExAvatarTracker:
    """Fits a body model to landmarks and silhouettes; implements ``Tracker``.

    In the spirit of ExAvatar's registration (camera and root, body, hands, face, surface), solved by a damped
    Gauss-Newton method with derivatives in closed form. Works on the CPU, whatever the device of the build.
    """

    def __init__(self, config: ExAvatarConfig | None = None, context: Context | None = None) -> None:
        self.config = config or ExAvatarConfig()
        self.context = context or Context()
        self._parameters: Parameters | None = None

    @property
    def parameters(self) -> Parameters:
        """The unknowns of the build's body model."""
        if self._parameters is None:
            body: BodyModel = self.context.get("body")
            self._parameters = Parameters(body, anatomy_of(body))
        return self._parameters

    @torch.no_grad()
    @single_threaded()
    def fit(self, photo: Photo, matte: Matte, keypoints: Keypoints) -> Subject:
        """Find shape, pose, expression, camera and surface of one photo.

        Parts that are not seen stay at a plausible rest; ``Subject.quality`` says which.

        Raises:
            InputError: neither face nor body landmarks.
        """
        parameters = self.parameters
        body, rasterizer = parameters.body, self._rasterizer()
        observation = observe(keypoints, body, matte.alpha)
        if not observation.sets.keys() & {"face478", "pose33"}:
            raise InputError("Neither a face nor a body was found in the photo; choose one that shows the person.")
        camera = front_camera(photo.width, photo.height, photo.focal)
        skin = skin_likeness(matte.foreground, keypoints, matte.alpha)
        fit = PhotoFit(body, parameters, self.config, observation, camera, matte, rasterizer, self.context, skin)
        fit.run()
        params = parameters.decode(fit.hide_hands())
        before = fit.x
        offsets = self._offsets(params, observation, camera, photo, matte, keypoints, skin)
        if not torch.equal(fit.order_hands(offsets), before):
            params = parameters.decode(fit.x)
            offsets = self._offsets(params, observation, camera, photo, matte, keypoints, skin)
        if observation.visible["legs"]:
            params, camera = level(body, params, camera)
        quality = judge(body, parameters, params, offsets, observation, camera, matte, rasterizer, fit.partially_visible)
        return Subject(photo, matte, keypoints, params, camera, offsets, quality)

    def _offsets(
        self,
        params: BodyParams,
        observation: Observation,
        camera: Camera,
        photo: Photo,
        matte: Matte,
        keypoints: Keypoints,
        skin: torch.Tensor | None,
    ) -> torch.Tensor:
        """(V, 3) displacements of the surface at rest; ``skin``: (H, W) 0 to 1."""
        body, rasterizer = self.parameters.body, self._rasterizer()
        if not self.config.offsets:
            return torch.zeros(len(body.skinning_weights), 3)
        hidden, mesh = hidden_vertices(body, observation), Mesh(body.vertices(params)[0], body.faces)
        labels = vertex_labels(body, params.shape)
        thing = held_things(photo, matte, keypoints, observation.visible, camera, mesh, labels, rasterizer)
        skin = None if skin is None else torch.where(thing, 0.0, skin)
        bare = bare_surface(body, mesh.vertices, camera, matte.alpha, skin, rasterizer, _BEYOND_SEEN)
        bare[body.part("head") > 0.5] = 0.0  # hair may look like skin, and stands off
        offsets = fit_offsets(body, params, camera, matte, hidden, bare, skin, thing, rasterizer, self.config.offset_limit)
        return lower_teeth(body, params, offsets, camera, matte, keypoints, rasterizer)

    @torch.no_grad()
    @single_threaded()
    def track(
        self,
        frames: Sequence[Keypoints | None],
        subject: Subject | None,
        fps: float,
        initial: BodyParams | None = None,
        cameras: Sequence[Camera] | None = None,
        images: Iterable[np.ndarray] | None = None,
    ) -> Motion:
        """Tracks consecutive frames with a fixed shape, smoothed without losing fast gestures.

        Frames without a person are interpolated and not ``valid``.

        Raises:
            InputError: no frame shows a person.
        """
        seen = [k is not None and bool(k.points.keys() & {"face478", "pose33"}) for k in frames]
        if not any(seen):
            raise InputError("No person was found in any frame. The video must show one person from the front.")
        body = self.parameters.body
        if cameras is None:
            first = next(k for k in frames if k is not None)
            cameras = [subject.camera if subject is not None else front_camera(first.width, first.height)] * len(frames)
        observations = Observations(SteadyDepth(frames, fps), lambda keypoints: thinned(observe(keypoints, body)))
        if subject is not None:
            known = self.parameters.knowing(subject.params.shape)
        else:
            known = first_shape(self.parameters, self.config, observations, cameras)
        tracker = VideoTracker(known, self.config, self.context, subject)
        x = tracker.run(observations, cameras, fps, initial, images)
        rows = [tracker.parameters.decode(row) for row in x]
        moving = {k: torch.stack([getattr(r, k) for r in rows]) for k in ("expression", "root", "translation", "joints")}
        return Motion("tracked", fps, BodyParams(body.name, rows[0].shape, **moving), valid=torch.tensor(seen))

    def _rasterizer(self) -> MeshRasterizer:
        return self.context.get("renderer").meshes
