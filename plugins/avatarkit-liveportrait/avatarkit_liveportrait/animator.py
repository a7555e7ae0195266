"""The networks at work: one photo's face, driven by pictures of a face."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from avatarkit_liveportrait.images import network_input, picture
from avatarkit_liveportrait.motion import FaceMotion

__all__ = ["Animator"]


class Animator:
    """Networks on a device; key points and all sums on them are float32."""

    def __init__(self, networks: Mapping[str, nn.Module], device: torch.device, dtype: torch.dtype) -> None:
        self.networks = {name: network.to(device) for name, network in networks.items()}
        self.device, self._dtype = device, dtype

    @torch.no_grad()
    def read(self, pictures: Sequence[np.ndarray]) -> FaceMotion:
        """Return motion of each (H, W, 3) uint8 picture of a cropped face."""
        parts = []
        for crop in pictures:
            with self._precision():
                parts.append(self.networks["motion_extractor"](network_input(crop, self.device)))
        return FaceMotion.read({key: torch.cat([part[key].float() for part in parts]) for key in parts[0]})

    @torch.no_grad()
    def frames(
        self, crop: np.ndarray, x_s: torch.Tensor, x_d: torch.Tensor, report: Callable[[float], None]
    ) -> Iterator[np.ndarray]:
        """Yield (512, 512, 3) uint8 frames.

        Args:
            crop: (H, W, 3) uint8 of the photo's face.
            x_s: (1, K, 3) its key points.
            x_d: (T, K, 3) where they go.
            report: is told the part that is done.
        """
        with self._precision():
            feature = self.networks["appearance_feature_extractor"](network_input(crop, self.device)).float()
        for number, points in enumerate(x_d):
            report(number / len(x_d))
            with self._precision():
                warped = self.networks["warping_module"](feature, points[None], x_s)["out"]
                image = self.networks["spade_generator"](warped)
            yield picture(image)

    def _precision(self) -> torch.autocast:
        enabled = self._dtype != torch.float32
        return torch.autocast(self.device.type, dtype=self._dtype if enabled else None, enabled=enabled)
