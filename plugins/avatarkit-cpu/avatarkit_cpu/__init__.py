"""Rasterizers of Gaussians and meshes for CPUs."""

from avatarkit.hookspecs import FEATURES, Cost, License, Needs, Register, hookimpl


@hookimpl
def register_renderers(register: Register) -> None:
    register(
        "cpu",
        target="avatarkit_cpu.renderer:CpuRenderer",
        config="avatarkit_cpu.config:Config",
        summary="Gaussians and meshes on the CPU, compiled for it on first use; the same bits on any number of threads",
        features=FEATURES,
        needs=Needs(
            modules=("numba",),
            costs=(Cost("cpu", "measured, two shared cores", memory_gb=2.4, seconds_per_step=0.25),),
        ),
        license=License(code="Apache-2.0"),
    )
