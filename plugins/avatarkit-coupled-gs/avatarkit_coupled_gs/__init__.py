"""The paper's avatar: Gaussians and a mesh, coupled softly."""

from avatarkit.hookspecs import Register, hookimpl

_LOSSES = {
    "rgb-l1": ("photometric:RgbL1", None, "L1 between picture and rendering, L_RGB of eq. 10"),
    "ssim": ("photometric:Ssim", None, "structural dissimilarity, L_SSIM of eq. 10"),
    "alpha": ("photometric:AlphaL1", None, "L1 between matte and accumulated opacity, L_alpha of eq. 10"),
    "label-colors": ("photometric:LabelColors", None, "colors that labels show and the photo does not"),
    "normal-consistency": ("regularizers:NormalConsistency", None, "smooth deformed mesh, L_normal of eq. 7"),
    "mesh-mask": ("regularizers:MeshMask", None, "silhouette of the deformed mesh, L_M of eq. 7"),
    "mesh-gaussian-consistency": ("regularizers:MeshGaussianConsistency", None, "ties dX to dT, L_MGC of eq. 8"),
    "laplacian": (
        "regularizers:Laplacian",
        "LaplacianConfig",
        "smooth dX, scale and color over the initial connectivity, L_lap of eq. 7",
    ),
}


@hookimpl
def register_avatars(register: Register) -> None:
    register(
        "coupled-gs",
        target="avatarkit_coupled_gs.model:CoupledAvatar",
        config="avatarkit_coupled_gs.config:CoupledConfig",
        revision=17,
        summary="3D Gaussians on the canonical surface, tied softly to a deformed mesh (paper, section 3.1)",
    )
    register(
        "textured-mesh",
        target="avatarkit_coupled_gs.textured:TexturedMeshAvatar",
        config="avatarkit_coupled_gs.config:TexturedConfig",
        summary="the tracked body with a texture from the photo: small, quick, and the same in a GLB file; no hair off the body",
    )


@hookimpl
def register_losses(register: Register) -> None:
    for name, (target, config, summary) in _LOSSES.items():
        register(
            name,
            target=f"avatarkit_coupled_gs.losses.{target}",
            config=f"avatarkit_coupled_gs.config:{config}" if config else None,
            revision=2,
            summary=summary,
        )
