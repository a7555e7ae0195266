"""Rasterizers for CUDA: gsplat and nvdiffrast."""

from avatarkit.hookspecs import FEATURES, License, Needs, Register, hookimpl


@hookimpl
def register_renderers(register: Register) -> None:
    register(
        "cuda",
        target="avatarkit_cuda.renderer:CudaRenderer",
        summary="gsplat for Gaussians, nvdiffrast for meshes, on an NVIDIA GPU",
        features=FEATURES,
        needs=Needs(modules=("gsplat", "nvdiffrast"), device="cuda"),
        extra="cuda",
        license=License(
            code="Apache-2.0 (gsplat), NVIDIA Source Code License, non-commercial (nvdiffrast)",
            commercial=False,
            source="https://github.com/NVlabs/nvdiffrast",
        ),
    )
