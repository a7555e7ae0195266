"""Perceptual losses for avatarkit."""

from avatarkit.hookspecs import License, Needs, Register, hookimpl

_DATA = "ImageNet, whose pictures are for non-commercial research, and judgments of people (BAPPS)"
_DOUBT = "Whether the terms of ImageNet's pictures reach weights that were trained on them is not settled."


@hookimpl
def register_losses(register: Register) -> None:
    register(
        "st-lpips",
        target="avatarkit_perceptual.losses:ShiftTolerantLpips",
        config="avatarkit_perceptual.config:StLpipsConfig",
        summary="perceptual distance that tolerates small shifts; its weights are installed with it",
        needs=Needs(modules=("stlpips_pytorch",)),
        license=License(
            weights="ShiftTolerant-LPIPS weights, BSD-2-Clause, in the wheel stlpips-pytorch",
            data=_DATA,
            source="https://github.com/abhijay9/ShiftTolerant-LPIPS",
            doubt=_DOUBT,
        ),
    )
    register(
        "lpips",
        target="avatarkit_perceptual.losses:Lpips",
        config="avatarkit_perceptual.config:LpipsConfig",
        summary="LPIPS with VGG-16, as in the paper",
        needs=Needs(modules=("lpips",), weights=("vgg16",)),
        extra="lpips",
        license=License(
            weights="VGG-16 (ImageNet, torchvision) and LPIPS linear layers, BSD-2-Clause",
            data=_DATA,
            source="https://github.com/richzhang/PerceptualSimilarity",
            doubt=_DOUBT,
        ),
    )
