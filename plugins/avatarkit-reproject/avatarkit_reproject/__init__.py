"""Pseudo-labels from geometry for avatarkit."""

from avatarkit.hookspecs import Register, hookimpl


@hookimpl
def register_pseudo_labelers(register: Register) -> None:
    register(
        "reproject",
        target="avatarkit_reproject.labeler:ReprojectLabeler",
        config="avatarkit_reproject.config:Config",
        revision=3,
        summary="body or head clips (option region) from the photo on the fitted mesh; needs no network and no weights",
    )
