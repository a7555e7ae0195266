"""BiRefNet's mattes. Hook implementations only."""

from __future__ import annotations

from avatarkit.hookspecs import License, Needs, Register, hookimpl


@hookimpl
def register_matting_models(register: Register) -> None:
    """Register ``birefnet``."""
    register(
        "birefnet",
        target="avatarkit_birefnet.matting:BiRefNetMatte",
        config="avatarkit_birefnet.config:BiRefNetConfig",
        summary="people cut out by BiRefNet (or RMBG-2.0) from an ONNX export of yours; sharper hair than the default",
        needs=Needs(modules=("onnxruntime", "cv2"), weights=("birefnet",)),
        extra="birefnet",
        license=License(
            weights="BiRefNet's weights: MIT (hub ZhengPeng7/BiRefNet and its variants); RMBG-2.0's: non-commercial (BRIA)",
            commercial=None,
            data="DIS5K, whose own terms are stricter than MIT, and other sets",
            source="https://github.com/ZhengPeng7/BiRefNet/issues/306",
            doubt="Its authors call the weights MIT, and say that the terms of DIS5K and of several other sets were overlooked.",
        ),
    )
