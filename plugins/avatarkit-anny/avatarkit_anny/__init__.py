"""Anny as the body model of avatarkit."""

from __future__ import annotations

from pathlib import Path

from avatarkit.hookspecs import License, Needs, Register, hookimpl


@hookimpl
def register_body_models(register: Register) -> None:
    register(
        "anny",
        target="avatarkit_anny.model:AnnyBody",
        config="avatarkit_anny.config:AnnyConfig",
        revision=2,
        summary="parametric body with hands, face, eyes, tongue and teeth; free for every use",
        needs=Needs(modules=("anny",)),
        license=License(
            code="Apache-2.0",
            weights="Anny/MakeHuman data, CC0",
            commercial=True,
            data="MakeHuman's assets, CC0; no scans of people",
            source="https://github.com/naver/anny",
        ),
    )


@hookimpl
def cached_files(folder: str) -> dict[str, str]:
    return {str(path): "tables of Anny" for path in Path(folder, "anny").glob("tables-*.safetensors")}
