"""Body labels made by MimicMotion (the paper's choice of body generator)."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch

from avatarkit.errors import InputError
from avatarkit.interfaces import Context
from avatarkit.labelling.framing import Window, subject_window
from avatarkit.labelling.pipelines import number_format, resolve_offload
from avatarkit.labelling.pose_maps import draw_poses
from avatarkit.labelling.request import ClipRequest
from avatarkit.labelling.scratch import Scratch
from avatarkit.labelling.wholebody import from_sets
from avatarkit.types.body import Motion
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.subject import Subject
from avatarkit_mimicmotion.alignment import STYLE, fit_alignment
from avatarkit_mimicmotion.config import MimicMotionConfig
from avatarkit_mimicmotion.pipeline import VideoPipeline
from avatarkit_mimicmotion.preprocess import cover_window, target_size
from avatarkit_mimicmotion.sampling import Sampling
from avatarkit_mimicmotion.weights import load_networks

__all__ = ["MimicMotionLabeler"]

log = logging.getLogger("avatarkit.mimicmotion")

CHECKPOINT, BASE = "mimicmotion-1-1", "svd-xt-1-1"  # names of ``avatarkit weights``
LARGEST_ALIGNMENT = 1.25  # a fit that scales more than this has failed


class MimicMotionLabeler:
    """``PseudoLabeler`` around a video diffusion network that is shown drawn poses.

    A killed run continues after its last tile: see ``labelling.scratch``.

    Attributes:
        exact: the frames show what was asked for only roughly, and have to be tracked again.
        regions: what it can show.
        save_seconds: between two savings of half-done work.
    """

    exact = False
    regions = ("body",)

    def __init__(self, config: MimicMotionConfig, context: Context) -> None:
        self._config, self._context = config, context
        self._pipeline: VideoPipeline | None = None
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
        config, context = self._config, self._context
        pipeline = self._ready_pipeline()
        request = ClipRequest.of(context, subject, motion, fps=config.fps, window=self._window(subject))
        context.progress("drawing poses", 0.0)
        maps = self._pose_maps(request)
        files = self._checkpoint(), self._base()
        inputs = (config, pipeline.dtype, seed, *files, request.reference, maps)
        scratch = Scratch.for_clip(context, "mimicmotion", *inputs, every_seconds=self.save_seconds)
        frames = pipeline.generate(request.reference, maps, seed, scratch=scratch, report=context.progress)
        clip = request.clip(frames, config.confidence)
        scratch.remove()
        return clip

    def _window(self, subject: Subject) -> Window:
        photo, resolution = subject.photo, self._config.resolution
        window = None
        if self._config.framing == "person":
            window = subject_window(subject, target_size(resolution, portrait=False))
        return window or cover_window(photo.height, photo.width, resolution)

    def _pose_maps(self, request: ClipRequest) -> torch.Tensor:
        """Return (T + 1, 3, H, W) uint8, the photo's own pose first."""
        points, scores = request.points
        fitted, sure = (a[0] for a in request.observed(request.subject.params.batched()))
        detected = _detected(request.subject, request.window)
        if detected is not None and self._config.rescale:
            scale, shift = _alignment(*detected, fitted, sure)
            points = points * scale + shift
        own = detected or (fitted, sure)
        height, width = request.camera.height, request.camera.width
        people = [own, *zip(points, scores, strict=True)]
        pictures = [draw_poses(xy[None], score[None], height, width, STYLE) for xy, score in people]
        # Drawn with the palette as RGB, shown to the network with red and blue exchanged: so it was trained.
        return torch.from_numpy(np.stack(pictures)[..., ::-1].transpose(0, 3, 1, 2).copy())

    def _ready_pipeline(self) -> VideoPipeline:
        """Load the networks when first asked."""
        if self._pipeline is None:
            config, device = self._config, self._context.device
            self._context.progress("loading the video network", None)
            dtype = number_format(config.dtype, device)
            networks = load_networks(self._checkpoint(), self._base(), config.pose_net, dtype)
            self._pipeline = VideoPipeline(
                networks,
                Sampling(config.steps, config.guidance_min, config.guidance_max, config.tile_size, config.tile_overlap),
                device,
                noise_aug_strength=config.noise_aug_strength,
                motion_bucket=config.motion_bucket,
                decode_chunk=config.decode_chunk,
                offload=resolve_offload(vars(networks), device, config.offload) != "none",
            )
        return self._pipeline

    def _checkpoint(self) -> Path:
        return self._config.checkpoint or self._context.weights(CHECKPOINT)

    def _base(self) -> Path:
        return self._config.base or self._context.weights(BASE)


def _detected(subject: Subject, window: Window) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the 133 points of the person as detected in the photo, in pixels of the window, and their scores.

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
    return window.points(points), np.where(outside, 0.0, scores)


def _alignment(points: np.ndarray, scores: np.ndarray, fitted: np.ndarray, sure: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return scale and shift from the fitted body to the detected one.

    The identity if they cannot be determined.
    """
    neutral = np.ones(2), np.zeros(2)
    try:
        # Points that only one of the two has would pull the fit; their score decides for the reference.
        scale, shift = fit_alignment(points, np.minimum(scores, sure), [fitted[None]])
    except InputError:
        return neutral
    if not np.isfinite([scale, shift]).all() or not (1 / LARGEST_ALIGNMENT < scale[1] < LARGEST_ALIGNMENT):
        log.warning("the fitted pose does not match the landmarks of the photo; poses are drawn as fitted")
        return neutral
    return scale, shift
