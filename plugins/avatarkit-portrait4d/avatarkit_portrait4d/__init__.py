"""Portrait4D-v2 as a generator of head labels, run in its own process. Hook implementations only."""

from __future__ import annotations

from pathlib import Path

from avatarkit.hookspecs import Cost, License, Needs, Register, Weights, hookimpl

_DATA = "VFHQ, and pictures of a generator that was trained on FFHQ (CC BY-NC-SA 4.0), by its papers"

CHECKOUT = Weights(
    name="portrait4d",
    source="github.com/YuDeng/Portrait-4D and huggingface.co/bEijuuu/Portrait4D",
    license="research only (NVIDIA, Max Planck and Basel terms in parts)",
    commercial=False,
    data=_DATA,
)


@hookimpl
def register_pseudo_labelers(register: Register) -> None:
    """Register ``portrait4d``."""
    register(
        "portrait4d",
        target="avatarkit_portrait4d.labeler:Portrait4DLabeler",
        config="avatarkit_portrait4d.config:Portrait4DConfig",
        revision=2,
        summary="head: Portrait4D-v2 (the paper's choice), from your own checkout of it; CUDA",
        needs=Needs(
            weights=(CHECKOUT.name,),
            device="cuda",
            sources=(CHECKOUT,),
            costs=(Cost("cuda", "its authors, V100 with 32 GB; no time is stated", memory_gb=32),),
        ),
        license=License(
            code="Apache-2.0; the checkout: MIT, with parts under NVIDIA's and Max Planck's non-commercial terms",
            weights="Portrait4D-v2 networks, FLAME, BFM: research only",
            commercial=False,
            data=_DATA,
            source="https://github.com/YuDeng/Portrait-4D",
        ),
    )


@hookimpl
def cached_files(folder: str) -> dict[str, str]:
    kept = {"torch": "networks that Portrait4D's programs fetched", "extensions": "compiled parts of Portrait4D's programs"}
    places = {Path(folder, "portrait4d", name): what for name, what in kept.items()}
    return {str(path): what for path, what in places.items() if path.is_dir()}
