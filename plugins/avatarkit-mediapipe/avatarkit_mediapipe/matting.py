"""Cuts one person out of a photo."""

from __future__ import annotations

import logging
import math

import cv2
import numpy as np
import torch
from skimage.draw import disk

from avatarkit.errors import InputError
from avatarkit.interfaces import Context
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.photo import Photo
from avatarkit.types.subject import Matte
from avatarkit_mediapipe.closed_form import closed_form_alpha, foreground_colors
from avatarkit_mediapipe.config import KeypointConfig, MatteConfig
from avatarkit_mediapipe.detector import MediaPipeKeypoints
from avatarkit_mediapipe.local_colors import corrected
from avatarkit_mediapipe.networks.crops import brightened
from avatarkit_mediapipe.segmentation import Anatomy, Segmenter, anatomy

__all__ = ["MediaPipeMatte"]

log = logging.getLogger("avatarkit.mediapipe")

SOLID = 0.55  # probability of what counts as the person
MIN_SHARE = 0.003  # smallest share of the picture that counts as a person
NEAR_WEIGHT, FAR_WEIGHT = 1e-3, 1e-1  # of the mask against the colors: at its border, at the end of the band


class MediaPipeMatte:
    """Matting by selfie segmentation on several windows, a trimap around its border, closed-form alpha.

    A matte that the file itself carries is used as it is, where it shows the person.
    """

    def __init__(self, config: MatteConfig, context: Context) -> None:
        self._config = config
        self._segmenter = Segmenter()
        self._detector = MediaPipeKeypoints(KeypointConfig(second_hand_pass=False), context)

    def matte(self, photo: Photo, keypoints: Keypoints | None = None) -> Matte:
        """See ``MattingModel.matte``; without keypoints the largest person is cut out."""
        image, seen = photo.image.numpy(), brightened(photo.to_uint8())
        person = None if keypoints is None else anatomy(keypoints)
        probability, grain = self._segmenter.probability(seen, person)
        if keypoints is not None and person is not None and keypoints.person_count > 1:
            probability = self._without_others(seen, probability, keypoints, person)
        probability = _of_one(probability, person)
        if (probability > SOLID).mean() < MIN_SHARE:
            raise InputError("No person could be cut out of the photo. Use one in which the person stands out clearly.")
        if photo.alpha is not None:
            alpha = photo.alpha.numpy()
            if _shows(alpha, probability, person):
                return _as_matte(alpha, _spread(image, alpha))
            log.warning("The transparency of the photo does not show the person and is not used.")
        alpha = self._solve(seen.astype(np.float32) / 255, probability, grain, person)
        return _as_matte(alpha, foreground_colors(image, alpha))

    def _without_others(self, image: np.ndarray, probability: np.ndarray, keypoints: Keypoints, person: Anatomy) -> np.ndarray:
        """Cut a mask of several people at color changes between their certain areas."""
        markers = (probability < 0.2).astype(np.int32)
        for other in map(anatomy, self._detector.everyone(image)):
            if math.dist((other.x, other.y), (person.x, person.y)) > 0.5 * min(other.head, person.head):
                markers[other.sure] = 2
        markers[person.sure] = 3
        labels = cv2.watershed(image, markers)
        mine = (labels == 3) | (labels == 1)
        return probability * cv2.blur(mine.astype(np.float32), (3, 3))

    def _solve(self, image: np.ndarray, probability: np.ndarray, grain: np.ndarray, person: Anatomy | None) -> np.ndarray:
        """Return alpha at full size, solved in the region of the person at bounded size."""
        height, width = probability.shape
        rows, columns = np.nonzero(probability > 0.1)
        margin = int(0.05 * max(height, width)) + 8
        top, bottom = max(0, rows.min() - margin), min(height, rows.max() + margin)
        left, right = max(0, columns.min() - margin), min(width, columns.max() + margin)
        region = (slice(top, bottom), slice(left, right))
        scale = min(1.0, self._config.solve_side / max(bottom - top, right - left))
        size = (max(2, round((right - left) * scale)), max(2, round((bottom - top) * scale)))
        small = cv2.resize(image[region], size, interpolation=cv2.INTER_AREA)
        prior = cv2.resize(probability[region], size, interpolation=cv2.INTER_AREA)
        pixel = cv2.resize(grain[region], size, interpolation=cv2.INTER_AREA) * scale
        if person is None:
            head, center = 0.25 * float(np.sqrt((prior > SOLID).sum())), None
            sure = np.zeros(prior.shape, bool)
        else:
            head, center = person.head * scale, ((person.x - left) * scale, (person.y - top) * scale)
            sure = cv2.resize(person.sure[region].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
            sure &= prior > 0.5
        prior = corrected(small, prior, sure, head, center)
        distance = self._distance(prior, pixel, head, center)
        solid = (prior > SOLID) | sure
        known = sure | (distance > 1.5) | ((distance > 1) & ((prior < 0.08) | (prior > 0.92)))
        # toward the end of the band the mask decides more and more, and harder
        soft = np.clip((prior - 0.25) / 0.5, 0, 1)
        guess = np.where(known, solid, soft + np.clip(2 * distance - 0.6, 0, 1) * (solid - soft))
        weight = NEAR_WEIGHT + FAR_WEIGHT * np.clip(distance, 0, 1) ** 2
        solved = closed_form_alpha(small, known, guess, weight)
        solved = _without_spots(_without_islands(np.clip((solved - 0.05) / 0.92, 0, 1)))
        alpha = np.zeros((height, width), np.float32)
        full = cv2.resize(solved, (right - left, bottom - top), interpolation=cv2.INTER_CUBIC)
        alpha[region] = np.clip(full, 0, 1)
        return alpha

    def _distance(
        self, probability: np.ndarray, grain: np.ndarray, head: float, center: tuple[float, float] | None
    ) -> np.ndarray:
        """Return (H, W) distance from the mask's border in units of the band to solve, which is wide at the hair."""
        mask = (probability > SOLID).astype(np.uint8)
        inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
        outside = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)
        band = np.maximum(self._config.body_width * head, 1.5 * grain)
        outer, inner = band, band
        if center is not None:
            y, x = np.mgrid[: mask.shape[0], : mask.shape[1]].astype(np.float32)
            away = np.hypot(x - center[0], y - center[1]) / head
            hair = np.clip((1.25 - away) / 0.3, 0, 1) * np.clip((center[1] + 0.75 * head - y) / (0.3 * head), 0, 1)
            outer = band + hair * np.maximum(self._config.hair_width * head - band, 0)
            inner = band + hair * np.maximum(0.8 * self._config.hair_width * head - band, 0)
        return np.maximum(outside / outer, inside / inner)


def _of_one(probability: np.ndarray, person: Anatomy | None) -> np.ndarray:
    """Remove parts that are not connected to the person, or to the largest part."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((probability > 0.4).astype(np.uint8), connectivity=4)
    if count <= 1:
        return probability
    if person is None or not person.sure.any():
        keep = {1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())}
    else:
        hits = np.bincount(labels[person.sure], minlength=count)
        hits[0] = 0
        keep = set(np.flatnonzero(hits > max(4, 0.02 * hits.sum())).tolist())
    kept = np.isin(labels, list(keep)).astype(np.uint8)
    reach = 2 * int(0.01 * max(probability.shape)) + 1
    return probability * cv2.dilate(kept, np.ones((reach, reach), np.uint8))


def _without_islands(alpha: np.ndarray) -> np.ndarray:
    """Keep the largest part and what is at least a fiftieth of it."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((alpha > 0.05).astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return alpha * np.isin(labels, np.flatnonzero(areas >= 0.02 * areas.max())) if count > 2 else alpha


def _without_spots(alpha: np.ndarray) -> np.ndarray:
    """Fill half transparent spots that no clear background reaches: people are solid inside."""
    count, labels = cv2.connectedComponents((alpha < 0.97).astype(np.uint8), connectivity=4)
    clearest = np.ones(count, np.float32)
    np.minimum.at(clearest, labels.ravel().astype(np.intp), alpha.ravel())
    spots = np.flatnonzero(clearest > 0.3)
    return np.where(np.isin(labels, spots), np.float32(1), alpha)


def _spread(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return colors of solid pixels, continued outwards over those that are not, whose own color may be wiped."""
    weight = np.clip((alpha - 0.9) / 0.1, 0, 1).astype(np.float32)
    colors = np.zeros_like(image)
    for radius in (max(alpha.shape) // 2, 32, 8, 2):  # the nearer the better, where there is something near
        size = (2 * radius + 1, 2 * radius + 1)
        near = cv2.blur(weight, size)[..., None]
        share = np.clip(near * size[0] * size[1], 0, 1)
        colors += share * (cv2.blur(image * weight[..., None], size) / (near + 1e-8) - colors)
    return np.clip(colors + weight[..., None] * (image - colors), 0, 1)


def _shows(alpha: np.ndarray, probability: np.ndarray, person: Anatomy | None) -> bool:
    """Return whether a file's own alpha is a matte of the person.

    It is if it keeps the head (or the person) and removes the background.
    """
    subject = probability > 0.8
    if person is not None:
        subject = np.zeros(alpha.shape, bool)
        subject[disk((person.y, person.x), 0.35 * person.head, shape=alpha.shape)] = True
    behind = probability < 0.2
    return bool(alpha[subject].mean() > 0.5 and (not behind.any() or alpha[behind].mean() < 0.5))


def _as_matte(alpha: np.ndarray, foreground: np.ndarray) -> Matte:
    return Matte(
        torch.from_numpy(np.ascontiguousarray(alpha, np.float32)),
        torch.from_numpy(np.ascontiguousarray(foreground, np.float32)),
    )
