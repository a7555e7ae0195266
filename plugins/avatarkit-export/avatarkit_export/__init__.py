"""Avatars as files that other programs open."""

from avatarkit.hookspecs import Register, hookimpl


@hookimpl
def register_exporters(register: Register) -> None:
    register(
        "ply",
        target="avatarkit_export.ply:PlyExporter",
        config="avatarkit_export.config:PlyConfig",
        summary="the Gaussians of one pose, for splat editors and viewers; FILE.ply",
    )
    register(
        "spz",
        target="avatarkit_export.spz:SpzExporter",
        summary="the Gaussians of one pose, a tenth of the size; FILE.spz",
    )
    register(
        "glb",
        target="avatarkit_export.glb:GlbExporter",
        config="avatarkit_export.config:GlbConfig",
        summary="rigged mesh with 52 face shapes, 15 visemes, texture and a clip, for 3D programs and engines; FILE.glb",
    )
    register(
        "vrm",
        target="avatarkit_export.vrm:VrmExporter",
        config="avatarkit_export.config:VrmConfig",
        summary="VRM 1.0: humanoid bones and expressions, for avatar programs; FILE.vrm",
    )
    register(
        "web",
        target="avatarkit_export.web:WebExporter",
        config="avatarkit_export.config:WebConfig",
        summary="a page that moves the avatar in real time, without server or network; a folder or FILE.html",
    )
