"""A tracker around another one: photos are its business, tracked clips are smoothed over three frames."""

from dataclasses import dataclass, replace

import torch

from avatarkit import hookimpl


@dataclass(frozen=True)
class Config:
    base: str = "exavatar"
    """The tracker that does the work."""
    strength: float = 0.5
    """How much each frame takes from its neighbors, 0 to 1."""


class Steady:
    def __init__(self, config, context):
        self.base, self.strength = context.get("tracker", config.base), config.strength

    def fit(self, photo, matte, keypoints):
        return self.base.fit(photo, matte, keypoints)

    def track(self, frames, subject, fps, initial=None, cameras=None, images=None):
        motion = self.base.track(frames, subject, fps, initial, cameras, images)
        moving = ("expression", "root", "translation", "joints")
        smooth = {name: self.smooth(getattr(motion.params, name)) for name in moving}
        return replace(motion, params=replace(motion.params, **smooth))

    def smooth(self, values):
        around = torch.cat([values[:1], values, values[-1:]])
        return torch.lerp(values, (around[:-2] + around[2:]) / 2, self.strength)


@hookimpl
def register_trackers(register):
    register("steady", target="steady:Steady", config="steady:Config", summary="another tracker, smoothed over three frames")
