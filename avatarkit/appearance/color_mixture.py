"""Colors of a part of the person, learned from pixels of the photo itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.vq import kmeans2

__all__ = ["CLUSTERS", "ColorMixture", "color_clusters"]

CLUSTERS = 5
"""Clusters of a part's colors."""
_SAMPLES = 4000  # pixels they are learned from at most
_BOTH = 0.03  # part of each arm's pixels that a color of both must have
_LEAST_SPREAD = 4.0  # of a color in CIELAB units
_EVERY = 1e6  # volume of CIELAB: a part of unknown colors has a density of one over it


def color_clusters(colors: np.ndarray) -> np.ndarray:
    """Return the cluster (n,) int, below ``CLUSTERS``, of each color (n, 3)."""
    apart = colors + np.random.default_rng(0).normal(0.0, 0.5, colors.shape)  # clusters of equal colors need not be told
    return kmeans2(apart, CLUSTERS, minit="++", seed=0)[1]


@dataclass(frozen=True)
class ColorMixture:
    """A mixture of Gaussians around clusters of colors.

    Attributes:
        share: (K,). mean: (K, 3). covariance: (K, 3, 3).
    """

    share: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray

    @staticmethod
    def of(known: list[np.ndarray], usual: list[np.ndarray], both: bool) -> ColorMixture:
        """Learn from pixels (n, 3) of one or two sides; of two what is ``usual`` (n,) bool, or, with ``both``, what both show."""
        step = [max(1, len(k) // _SAMPLES) for k in known]
        known, usual = ([x[::n] for x, n in zip(xs, step, strict=True)] for xs in (known, usual))
        samples, fine = np.concatenate(known), np.concatenate(usual)
        side = np.repeat(np.arange(len(known)), [len(k) for k in known])
        cluster = color_clusters(samples)
        members = [cluster == k for k in np.unique(cluster)]
        shares = np.array([np.bincount(side[m], minlength=len(known)) for m in members]) / np.bincount(side)
        kept = np.array([fine[m].mean() > 0.5 for m in members]) | (both & (shares.min(1) > _BOTH))
        if not kept.any():
            kept[:] = True
        mean = np.stack([samples[m].mean(0) for m in members])
        scatter = np.stack([np.cov(samples[m].T) if m.sum() > 3 else np.zeros((3, 3)) for m in members])
        share = shares.mean(1)[kept]
        return ColorMixture(share / share.sum(), mean[kept], scatter[kept] + _LEAST_SPREAD**2 * np.eye(3))

    def __call__(self, pixels: np.ndarray, where: np.ndarray) -> np.ndarray:
        """(n,) logarithm of the density at pixels (n, 3), times ``_EVERY``; 0 outside of ``where`` (n,) bool."""
        colors = np.ascontiguousarray(pixels[where].T)
        density = np.zeros(colors.shape[1])
        for share, mean, whiten in zip(self.share, self.mean, np.linalg.inv(np.linalg.cholesky(self.covariance)), strict=True):
            off = np.einsum("ij,jn->in", whiten, colors - mean[:, None])  # not by BLAS, whose rounding depends on the threads
            density += share * np.prod(np.diag(whiten)) / (2 * np.pi) ** 1.5 * np.exp(-0.5 * np.square(off).sum(0))
        out = np.zeros(len(pixels))
        out[where] = np.log(density * _EVERY + 1e-12)
        return out
