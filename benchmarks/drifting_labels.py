"""A stand-in for diffusion: reprojected labels that stray from the request and shift in color, as a plugin of one file.

    avatarkit build ada.jpg --plugin benchmarks/drifting_labels.py --body-labels drifting

What a generator such as MimicMotion does wrong can be measured only with its weights and a GPU. This one draws the person
exactly, but in a pose that drifts from the one it was asked for, and with another white balance; it tells neither. So tracking
again and calibrating colors have something to mend, and the ablation shows what they mend.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from avatarkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatarkit.hookspecs import Register, hookimpl
from avatarkit.interfaces import Context, Subject
from avatarkit.types.body import Motion
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit_reproject.config import Config
from avatarkit_reproject.framing import place
from avatarkit_reproject.labeler import ReprojectLabeler


@dataclass(frozen=True)
class DriftConfig:
    """Options of ``drifting``."""

    degrees: float = 8.0
    """Spread of the error of each of spine, neck, shoulders and elbows."""
    meters: float = 0.03
    """Spread of the error of where the person stands."""
    cast: float = 0.08
    """Spread of the gain of each color channel."""
    frames: int = 6
    """Frames of each clip."""
    height: int = 384
    """Pixels."""


class DriftingLabeler:
    """``PseudoLabeler`` of body clips; see the module."""

    exact = False
    parts = ("spine2", "neck", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow")

    def __init__(self, config: DriftConfig, context: Context) -> None:
        self.config, self.context = config, context
        self._exact = ReprojectLabeler(Config("body", config.frames, height=config.height, supersampling=1), context)

    def generate(self, subject: Subject, motion: Motion, seed: int) -> LabelClip:
        """Return a clip of another motion than the one asked for, that claims to be of that one."""
        g = torch.Generator().manual_seed(seed + 7)
        shown = self._exact.generate(subject, self._drifted(motion, g), seed)
        asked = place(subject, motion, self.config.frames)
        gain = 1 + self.config.cast * torch.randn(3, generator=g)
        frames = (shown.frames.float() * gain).clamp(0, 255).round().to(torch.uint8)
        return replace(shown, frames=frames, requested=asked, params=asked, facts={})

    def _drifted(self, motion: Motion, g: torch.Generator) -> Motion:
        body, p = self.context.get("body"), motion.params
        joints = p.joints.clone()
        for group in body.pose_groups:
            if group.name in self.parts:
                error = torch.randn(3, generator=g) * torch.deg2rad(torch.tensor(self.config.degrees))
                for joint, share in zip(group.joints, group.share, strict=True):
                    turn = axis_angle_to_matrix(error * share)
                    joints[:, joint] = matrix_to_axis_angle(turn @ axis_angle_to_matrix(joints[:, joint]))
        step = torch.randn(3, generator=g) * self.config.meters * torch.tensor([1.0, 0.3, 1.0])
        return replace(motion, params=replace(p, joints=joints, translation=p.translation + step))


_HERE = __name__ if __name__ != "__main__" else "drifting_labels"


@hookimpl
def register_pseudo_labelers(register: Register) -> None:
    register(
        "drifting",
        target=f"{_HERE}:DriftingLabeler",
        config=f"{_HERE}:DriftConfig",
        summary="reprojected body labels with errors of pose and color, to measure what re-tracking and calibration mend",
    )
