"""A loss in one file: colors stay below a limit, so that faces do not glare."""

from dataclasses import dataclass

from avatarkit import hookimpl


@dataclass(frozen=True)
class Config:
    limit: float = 0.95
    """Brightness, 0 to 1, above which colors are pulled back."""


class NoGlare:
    def __init__(self, config, context):
        self.limit = config.limit

    def __call__(self, step):
        return (step.posed.gaussians.colors - self.limit).clamp(min=0).mean()


@hookimpl
def register_losses(register):
    register("no-glare", target="no_glare:NoGlare", config="no_glare:Config", summary="keeps colors below a limit")
