"""Head labels made by LivePortrait."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from avatarkit.interfaces import Context
from avatarkit.labelling.driving import HeadPainter, head_motion
from avatarkit.labelling.frames import cut_out, thinned
from avatarkit.types.body import Motion
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.subject import Subject
from avatarkit_liveportrait.animator import Animator
from avatarkit_liveportrait.config import LivePortraitConfig
from avatarkit_liveportrait.images import (
    CROP,
    INPUT,
    FaceCrop,
    border_mask,
    face_points,
    paste,
    square_window,
    warp,
)
from avatarkit_liveportrait.motion import LIPS_OPEN, FaceMotion, Rules, animate, lip_ratio, retarget
from avatarkit_liveportrait.weights import load_networks

__all__ = ["LivePortraitLabeler"]

WEIGHTS = "liveportrait"  # name of ``avatarkit weights``
LARGEST = 1280  # pixels along the longer side of what the networks see


class LivePortraitLabeler:
    """``PseudoLabeler`` that moves the photo's face by implicit key points.

    Attributes:
        exact: the frames show what was asked for only roughly, and have to be tracked again.
        regions: what it can show.
    """

    exact = False
    regions = ("head",)

    def __init__(self, config: LivePortraitConfig, context: Context) -> None:
        self._config, self._context = config, context
        self._animator: Animator | None = None
        self._prepared: tuple[Subject, Subject, HeadPainter] | None = None

    def generate(self, subject: Subject, motion: Motion, seed: int) -> LabelClip:
        """See ``PseudoLabeler.generate``.

        Nothing is random, so that ``seed`` has no effect.

        The motion is thinned to the config's frames per second, and moves head and face alone: in the frames, body and
        camera are the photo's. ``params`` equal ``requested``, and the frames have to be tracked again.

        Raises:
            MissingWeights: a checkpoint is not there.
            InputError: a checkpoint is damaged or not the right one, or the photo shows no face.
        """
        animator, progress = self._ready_animator(), self._context.progress
        subject, painter = self._prepare(subject)
        photo = (subject.photo.image.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        points, axis = face_points(subject.keypoints, subject.photo.width, subject.photo.height)
        crop = FaceCrop.around(points, axis)
        params = head_motion(thinned(motion, self._config.fps), subject, self._context.get("body"))
        face = warp(photo, crop.to_crop, CROP, CROP)
        source = animator.read([face])
        view = crop.camera(subject.camera, INPUT)
        # The photo's own pose comes first: changes count from it.
        drawn = painter.draw(subject.params.batched(), view, lambda part: None)
        drawn += painter.draw(params, view, lambda part: progress("drawing the head", part))
        progress("reading the motion", None)
        x_d = self._key_points(animator, source, drawn, subject)
        to_window, camera = square_window(crop, subject.camera, self._config.size)
        ground = warp(photo, to_window, camera.width, camera.height)
        mask, placing = border_mask(), to_window @ crop.to_photo
        generated = animator.frames(face, source.points(), x_d, lambda part: progress("moving the face", part))
        frames = torch.from_numpy(np.stack([paste(frame, ground, mask, placing) for frame in generated]))
        name, matting = f"head-{motion.name}", self._context.get("matting")
        cut = cut_out(frames, matting, name, self._config.confidence, progress)
        cameras = (camera,) * len(frames)
        return LabelClip(name, "head", cut.colors, cut.alpha, cut.confidence, params, params, cameras)

    def _prepare(self, subject: Subject) -> tuple[Subject, HeadPainter]:
        """Return the data that all clips of a subject share."""
        if self._prepared is None or self._prepared[0] is not subject:
            small = _limited(subject)
            painter = HeadPainter(small, self._context.get("body"), self._context.get("renderer"))
            self._prepared = (subject, small, painter)
        return self._prepared[1:]

    def _key_points(self, animator: Animator, source: FaceMotion, drawn: list[np.ndarray], subject: Subject) -> torch.Tensor:
        """Return (T, K, 3) on the animator's device."""
        config, networks = self._config, animator.networks
        driver, x_s = animator.read(drawn), source.points()
        closing = None
        if config.close_lips and subject.keypoints.has("face478"):
            ratio = float(lip_ratio(subject.keypoints.points["face478"]))
            if ratio >= LIPS_OPEN:
                closing = retarget(networks["lip"], x_s, torch.tensor([[ratio, 0.0]], device=x_s.device))
        stitching = networks["stitching"] if config.stitching else None
        rules = Rules(config.relative, config.region, config.multiplier)
        with torch.no_grad():
            return animate(source, driver, rules, stitching, closing=closing)[1:]

    def _ready_animator(self) -> Animator:
        """Load the networks when first asked."""
        if self._animator is None:
            self._context.progress("loading the face networks", None)
            device = self._context.device
            half = self._config.dtype == "float16" or (self._config.dtype == "auto" and device.type == "cuda")
            networks = load_networks(self._folder())
            self._animator = Animator(networks, device, torch.float16 if half else torch.float32)
        return self._animator

    def _folder(self) -> Path:
        return self._config.weights or self._context.weights(WEIGHTS)


def _limited(subject: Subject) -> Subject:
    """Return the subject with a photo that crops can be taken from without aliasing."""
    photo = subject.photo
    zoom = LARGEST / max(photo.width, photo.height)
    if zoom >= 1:
        return subject
    width, height = round(photo.width * zoom), round(photo.height * zoom)
    small = _shrunk(torch.cat([photo.image, subject.matte.foreground, subject.matte.alpha[..., None]], -1), width, height)
    matte = replace(subject.matte, alpha=small[..., 6].contiguous(), foreground=small[..., 3:6].contiguous())
    photo = replace(photo, image=small[..., :3].contiguous(), alpha=None)
    return replace(subject, photo=photo, matte=matte, camera=subject.camera.resized(width, height))


def _shrunk(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    layers = image.permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(layers, (height, width), mode="bilinear", antialias=True)
    return small[0].permute(1, 2, 0)
