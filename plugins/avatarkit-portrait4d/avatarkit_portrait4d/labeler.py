"""Head labels made by Portrait4D-v2, which runs in its own process and environment."""

from __future__ import annotations

import hashlib
import logging
from io import BytesIO
from typing import Any

import numpy as np
import torch

from avatarkit.errors import InputError
from avatarkit.geometry.rotations import matrix_to_axis_angle
from avatarkit.interfaces import BodyModel, Context
from avatarkit.labelling.driving import HeadPainter, head_motion
from avatarkit.labelling.frames import cut_out, thinned
from avatarkit.labelling.poses import observe
from avatarkit.labelling.scratch import scratch_folder
from avatarkit.labelling.wholebody import FACE, from_sets
from avatarkit.types.body import BodyParams, Motion
from avatarkit.types.camera import Camera
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.subject import Subject
from avatarkit.utils.files import write_bytes
from avatarkit_portrait4d.checkout import Checkout, checked_sha256, open_checkout
from avatarkit_portrait4d.config import Portrait4DConfig
from avatarkit_portrait4d.faces import SIZE, Alignment, align, crop_camera, five_points, parameters
from avatarkit_portrait4d.job import Face, Job
from avatarkit_portrait4d.runner import Runner

__all__ = ["Portrait4DLabeler"]

log = logging.getLogger("avatarkit.portrait4d")

_PUPILS = [468, 473]  # of MediaPipe's face points, the one on the picture's left first
_TO_VIEWER = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # camera axes -> x right, y up, z toward the viewer


class Portrait4DLabeler:
    """``PseudoLabeler`` that hands files to the user's checkout and takes frames back.

    Attributes:
        exact: the frames show what was asked for only roughly, and have to be tracked again.
        regions: what it can show.
        jobs: folder of the jobs.
    """

    exact = False
    regions = ("head",)

    def __init__(self, config: Portrait4DConfig, context: Context) -> None:
        self._config, self._context = config, context
        self._checkout: tuple[Checkout, str] | None = None
        self.jobs = scratch_folder(context, "portrait4d")

    def generate(self, subject: Subject, motion: Motion, seed: int) -> LabelClip:
        """See ``PseudoLabeler.generate``.

        Nothing is random, so that ``seed`` has no effect.

        The motion is thinned to the config's frames per second, and moves head and face alone. Frames that could not be had
        are left out of the clip. The camera is the photo's, for the crop that the network was shown: it draws the head in a
        camera of its own, so the frames have to be tracked again.

        Raises:
            MissingWeights, MissingRequirement: the checkout is not there, or incomplete.
            ConfigError: the checkpoint may not be loaded (``allow_pickle``).
            InputError: the photo shows no face; the program failed. Frames that it made are kept for the next try.
        """
        config, context = self._config, self._context
        checkout, digest = self._opened()
        body = context.get("body")
        params = head_motion(thinned(motion, config.fps), subject, body)
        photo, crop, points = _photo_face(subject)
        turn = _head_turn(subject.params.batched(), subject.camera, body)[0]
        source = Face(crop.image, crop.landmarks(points, len(photo)), parameters(turn))
        pictures, drivers, transforms = self._drivers(subject, params, body)

        job = Job(self.jobs / self._name(source, drivers, digest))
        asked = {"frames": len(pictures), "fps": config.fps, "motion": motion.name, "preparation": config.preparation}
        job.open(asked | {"camera": crop_camera(subject.camera, crop).K.tolist(), "network_sha256": digest})
        stream = BytesIO()
        np.savez(stream, source=crop.to_crop, drivers=transforms)
        write_bytes(job.folder / "transforms.npz", stream.getvalue())
        runner = Runner(checkout, config, job, context.cache / "portrait4d", context.progress)
        lost, status = {}, "failed"
        try:
            if config.preparation == "official":
                source = runner.prepare_source(photo)
                drivers = runner.prepare_drivers(dict(enumerate(pictures)))
            lost = runner.generate(source, drivers)
            lost |= {n: "has no face" for n in range(len(pictures)) if n not in drivers}
            status = "done"
        finally:
            record = {"status": status, "network_sha256": digest, "checkout": checkout.revision}
            frames = [{"index": n, "ok": job.frame(n) is not None, "reason": lost.get(n, "")} for n in range(len(pictures))]
            job.write("result.json", record | {"frames": frames, "commands": runner.commands})
        facts = {"network_sha256": digest, "checkout": checkout.revision, "frames_lost": len(lost)}
        clip = self._clip(job, params, crop_camera(subject.camera, crop), f"head-{motion.name}", facts)
        if not config.keep_job and not lost:
            job.remove()
        return clip

    def _drivers(
        self, subject: Subject, params: BodyParams, body: BodyModel
    ) -> tuple[list[np.ndarray], dict[int, Face], np.ndarray]:
        """Return the rendered heads of each frame, their faces, and the positions of their crops."""
        renderer, report = self._context.get("renderer"), self._context.progress
        camera = _square(subject)
        points, _ = observe(body, params, camera, subject.vertex_offsets, None)
        pictures = HeadPainter(subject, body, renderer).draw(params, camera, lambda part: report("drawing the head", part))
        turns = _head_turn(params, camera, body)
        faces, transforms = {}, np.full((len(pictures), 3, 3), np.nan)
        for number, (picture, face, turn) in enumerate(zip(pictures, points[:, FACE] - 0.5, turns, strict=True)):
            crop = align(picture, five_points(face))
            faces[number] = Face(crop.image, crop.landmarks(face, len(picture)), parameters(turn))
            transforms[number] = crop.to_crop
        return pictures, faces, transforms

    def _clip(self, job: Job, params: BodyParams, camera: Camera, name: str, facts: dict[str, Any]) -> LabelClip:
        made = {n: frame for n in range(params.batch_shape[0]) if (frame := job.frame(n)) is not None}
        if not made:
            raise InputError(f"Portrait4D generated no usable frame. See its output in {job.log}.")
        if lost := params.batch_shape[0] - len(made):
            log.warning("clip %s: %d frames could not be generated; the files are kept in %s", name, lost, job.folder)
        frames = torch.from_numpy(np.stack(list(made.values())))
        params = params[torch.tensor(list(made))]
        cut = cut_out(frames, self._context.get("matting"), name, self._config.confidence, self._context.progress)
        cameras = (camera,) * len(frames)
        return LabelClip(name, "head", cut.colors, cut.alpha, cut.confidence, params, params, cameras, facts)

    def _opened(self) -> tuple[Checkout, str]:
        """Return the checkout and its checkpoint's sha256, looked at once."""
        if self._checkout is None:
            checkout = open_checkout(self._config)
            self._context.progress("checking the checkpoint", None)
            digest = checked_sha256(checkout.network, self._config.sha256)
            log.warning("Portrait4D's checkpoint %s has the sha256 %s", checkout.network.name, digest)
            self._checkout = checkout, digest
        return self._checkout

    def _name(self, source: Face, drivers: dict[int, Face], digest: str) -> str:
        total = hashlib.sha256(f"{digest} {self._config.preparation}".encode())
        for face in (source, *drivers.values()):
            for part in (face.image, face.landmarks, face.parameters):
                total.update(np.ascontiguousarray(part).tobytes())
        return total.hexdigest()[:32]


def _photo_face(subject: Subject) -> tuple[np.ndarray, Alignment, np.ndarray]:
    """Return the photo (H, W, 3) uint8, the crop around its face, and the face's 68 landmarks in the photo."""
    keypoints, photo = subject.keypoints, subject.photo
    if not (keypoints.has("face478") or keypoints.has("coco133")):
        raise InputError("portrait4d needs a face, and no landmarks of one were found in the photo.")
    found, _ = from_sets(keypoints.points, keypoints.scores)
    stretch = np.array([photo.width / keypoints.width, photo.height / keypoints.height])
    points = found[FACE] * stretch - 0.5
    image = (photo.image.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return image, align(image, five_points(points, _pupils(keypoints, stretch))), points


def _pupils(keypoints: Keypoints, stretch: np.ndarray) -> np.ndarray | None:
    if not keypoints.has("face478"):
        return None
    return np.asarray(keypoints.points["face478"][_PUPILS, :2] * stretch - 0.5)


def _head_turn(params: BodyParams, camera: Camera, body: BodyModel) -> np.ndarray:
    """Return (T, 3) rotation vectors of the head as the camera sees it.

    x right, y up, z toward the viewer.
    """
    heads = [group.joints[-1] for group in body.pose_groups if group.name == "head"]
    joint = heads[0] if heads else body.joint_names.index("head")
    skeleton = body.skeleton(params.shape)
    A = body.joint_transforms(skeleton, params.root, params.translation, params.joints)[:, joint, :3, :3]
    seen = _TO_VIEWER @ camera.T_camera_world[:3, :3] @ A
    return matrix_to_axis_angle(seen).double().numpy()


def _square(subject: Subject) -> Camera:
    """Return a camera on the head that draws it at about the size that crops have.

    Driving pictures are made with it.
    """
    _, crop, _ = _photo_face(subject)
    rim = SIZE // 4  # turned heads move
    camera = crop_camera(subject.camera, crop)
    return camera.cropped(-rim, -rim, SIZE + 2 * rim, SIZE + 2 * rim)
