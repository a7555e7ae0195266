"""Body labels made by MimicMotion (the paper's choice of body generator)."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from avatarkit.animation import place
from avatarkit.errors import InputError, MissingWeights
from avatarkit.interfaces import Context
from avatarkit.labelling.frames import cut_out, thinned
from avatarkit.labelling.framing import Window, crop, subject_window
from avatarkit.labelling.poses import observe
from avatarkit.labelling.wholebody import from_sets
from avatarkit.types.body import BodyParams, Motion
from avatarkit.types.camera import Camera
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.subject import Subject
from avatarkit.utils.paths import find_weights
from avatarkit_mimicmotion.config import MimicMotionConfig
from avatarkit_mimicmotion.pipeline import VideoPipeline
from avatarkit_mimicmotion.posemap import People, align, draw, fit_alignment
from avatarkit_mimicmotion.preprocess import cover_window, target_size
from avatarkit_mimicmotion.sampling import Sampling
from avatarkit_mimicmotion.scratch import Scratch
from avatarkit_mimicmotion.weights import load_networks

__all__ = ["MimicMotionLabeler"]

log = logging.getLogger("avatarkit.mimicmotion")

CHECKPOINT, BASE = "mimicmotion-1-1", "svd-xt-1-1"  # names of ``avatarkit weights``
LARGEST_ALIGNMENT = 1.25  # a fit that scales more than this has failed


class MimicMotionLabeler:
    """``PseudoLabeler`` around a video diffusion network that is shown drawn poses.

    Attributes:
        exact: the frames show what was asked for only roughly, and have to be tracked again.
        regions: what it can show.
        scratch: folder for half-done clips, so that a killed run goes on after its last tile; None = keep nothing.
            Clips of the same inputs, options and seed find their own work in it; finished ones leave nothing behind.
        save_seconds: between two savings of half-done work.
    """

    exact = False
    regions = ("body",)

    def __init__(self, config: MimicMotionConfig, context: Context) -> None:
        self._config, self._context = config, context
        self._pipeline: VideoPipeline | None = None
        self.scratch: Path | None = context.cache / "scratch" / "mimicmotion"
        self.save_seconds = 20.0

    def generate(self, subject: Subject, motion: Motion, seed: int) -> LabelClip:
        """See ``PseudoLabeler.generate``.

        The motion is thinned to the config's frames per second. ``params`` equal ``requested``: the network keeps to
        its request only roughly, so the frames have to be tracked again. The camera is the photo's, in the window that
        was shown to the network.

        Raises:
            MissingWeights: a checkpoint is not there.
            InputError: a checkpoint is damaged or not the right one.
        """
        pipeline = self._ready_pipeline()
        params = place(thinned(motion, self._config.fps), subject.params, self._context.get("body"))
        window = self._window(subject)
        reference = crop(subject.photo.image, window)
        camera = window.camera(subject.camera)
        self._context.progress("drawing poses", 0.0)
        maps = self._pose_maps(subject, params, window, camera)
        scratch = self._scratch(reference, maps, seed)
        frames = pipeline.generate(reference, maps, seed, scratch=scratch, report=self._context.progress)
        name, matting = f"body-{motion.name}", self._context.get("matting")
        cut = cut_out(frames, matting, name, self._config.confidence, self._context.progress)
        if scratch:
            scratch.remove()
        cameras = (camera,) * len(frames)
        return LabelClip(name, "body", cut.colors, cut.alpha, cut.confidence, params, params, cameras)

    def _window(self, subject: Subject) -> Window:
        photo, resolution = subject.photo, self._config.resolution
        window = None
        if self._config.framing == "person":
            window = subject_window(subject, target_size(resolution, portrait=False))
        return window or cover_window(photo.height, photo.width, resolution)

    def _pose_maps(self, subject: Subject, params: BodyParams, window: Window, camera: Camera) -> torch.Tensor:
        """Return (T + 1, 3, H, W) uint8, the photo's own pose first."""
        body, renderer = self._context.get("body"), self._context.get("renderer")
        meshes = None if renderer is None else renderer.meshes
        offsets = subject.vertex_offsets

        def seen(frames: BodyParams) -> list[People]:
            points, scores = observe(body, frames, camera, offsets, meshes)
            return [_people(p, s, window) for p, s in zip(points, scores, strict=True)]

        frames, fitted = seen(params), seen(subject.params.batched())[0]
        detected = _detected(subject, window)
        if detected is not None and self._config.rescale:
            scale, shift = _alignment(detected, fitted)
            frames = [align(people, scale, shift) for people in frames]
        pictures = [draw(people, window.height, window.width) for people in (detected or fitted, *frames)]
        return torch.from_numpy(np.stack(pictures))

    def _ready_pipeline(self) -> VideoPipeline:
        """Load the networks when first asked."""
        if self._pipeline is None:
            config, device = self._config, self._context.device
            self._context.progress("loading the video network", None)
            networks = load_networks(self._checkpoint(), self._base(), config.pose_net, self._dtype())
            self._pipeline = VideoPipeline(
                networks,
                Sampling(config.steps, config.guidance_min, config.guidance_max, config.tile_size, config.tile_overlap),
                device,
                noise_aug_strength=config.noise_aug_strength,
                motion_bucket=config.motion_bucket,
                decode_chunk=config.decode_chunk,
                offload=config.offload == "modules",
            )
        return self._pipeline

    def _checkpoint(self) -> Path:
        path = self._config.checkpoint or find_weights(CHECKPOINT)
        if path is None:
            raise MissingWeights(f"mimicmotion needs its weights, MimicMotion_1-1.pth: avatarkit weights add {CHECKPOINT} FILE")
        return path

    def _base(self) -> Path:
        path = self._config.base or find_weights(BASE)
        if path is None or not path.is_dir():
            raise MissingWeights(
                f"mimicmotion needs the folder of Stable Video Diffusion XT 1.1: avatarkit weights add {BASE} FOLDER"
            )
        return path

    def _dtype(self) -> torch.dtype:
        if self._config.dtype == "auto":
            return torch.float16 if self._context.device.type == "cuda" else torch.float32
        return {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}[self._config.dtype]

    def _scratch(self, reference: torch.Tensor, maps: torch.Tensor, seed: int) -> Scratch | None:
        """Return the folder of exactly this clip."""
        if self.scratch is None:
            return None
        files = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in (self._checkpoint(), self._base())]
        digest = hashlib.sha256(repr((self._config, self._dtype(), self._context.device.type, seed, files)).encode())
        for tensor in (reference, maps):
            digest.update(tensor.numpy().tobytes())
        return Scratch(self.scratch / digest.hexdigest()[:32], self.save_seconds)


def _people(points: np.ndarray, scores: np.ndarray, window: Window) -> People:
    """Return one person from (133, 2) pixels of the reference picture.

    Lost points go where they are not drawn.
    """
    lost = ~np.isfinite(points).all(-1)
    far = 10 * max(window.width, window.height)  # beyond it drawing would overflow
    points = np.where(lost[:, None], -1.0, np.clip(np.nan_to_num(points), -far, far))
    return People.from_coco(points[None], np.where(lost, 0.0, scores)[None], window.width, window.height)


def _detected(subject: Subject, window: Window) -> People | None:
    """Return the person as detected in the photo.

    None where the detector's landmark sets are not known here.
    """
    keypoints = subject.keypoints
    if not (keypoints.has("coco133") or keypoints.has("pose33")):
        return None
    points, scores = from_sets(keypoints.points, keypoints.scores)
    photo_scale = np.array([subject.photo.width / keypoints.width, subject.photo.height / keypoints.height])
    points = points * photo_scale
    with np.errstate(invalid="ignore"):
        outside = (points < 0).any(-1) | (points > [subject.photo.width, subject.photo.height]).any(-1)
    return _people(window.points(points), np.where(outside, 0.0, scores), window)


def _alignment(detected: People, fitted: People) -> tuple[np.ndarray, np.ndarray]:
    """Return scale and shift from the fitted body to the detected one.

    The identity if they cannot be determined.
    """
    neutral = np.ones(2), np.zeros(2)
    # Points that only one of the two has would pull the fit; their score decides for the reference.
    both = replace(detected, body_score=np.minimum(detected.body_score, fitted.body_score))
    try:
        scale, shift = fit_alignment(both, [fitted], aspect=1.0)
    except InputError:
        return neutral
    if not np.isfinite([scale, shift]).all() or not (1 / LARGEST_ALIGNMENT < scale[1] < LARGEST_ALIGNMENT):
        log.warning("the fitted pose does not match the landmarks of the photo; poses are drawn as fitted")
        return neutral
    return scale, shift
