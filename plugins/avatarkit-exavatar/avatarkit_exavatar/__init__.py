"""Fitting of a body model to a photo, and tracking of videos."""

from avatarkit.hookspecs import License, Needs, Register, hookimpl


@hookimpl
def register_trackers(register: Register) -> None:
    register(
        "exavatar",
        target="avatarkit_exavatar.tracker:ExAvatarTracker",
        config="avatarkit_exavatar.config:ExAvatarConfig",
        summary="shape, pose, hands, face and surface of one photo; videos and clips with the shape kept",
        needs=Needs(modules=("scipy",)),
        license=License(code="Apache-2.0"),
        revision=14,
    )
