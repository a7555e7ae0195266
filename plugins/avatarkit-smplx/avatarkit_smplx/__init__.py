"""SMPL-X as a body model. Hook implementations only."""

from __future__ import annotations

from avatarkit.hookspecs import License, Needs, Register, hookimpl


@hookimpl
def register_body_models(register: Register) -> None:
    """Register ``smplx``."""
    register(
        "smplx",
        target="avatarkit_smplx.model:SmplxBody",
        config="avatarkit_smplx.config:SmplxConfig",
        summary="SMPL-X, the paper's body model, from your own model files; non-commercial",
        needs=Needs(modules=("smplx",), weights=("smplx",)),
        extra="smplx",
        license=License(
            code="Apache-2.0; the package smplx: non-commercial scientific research (Max Planck)",
            weights="SMPL-X model files: non-commercial scientific research, registration at smpl-x.is.tue.mpg.de (Max Planck)",
            commercial=False,
            data="3D scans of people, by its paper; terms not stated",
            source="https://smpl-x.is.tue.mpg.de/modellicense.html",
        ),
    )
