"""Motions made by rule: talking, gesturing, turning, expressions."""

from avatarkit.hookspecs import Register, hookimpl


@hookimpl
def register_motion_sources(register: Register) -> None:
    register(
        "builtin",
        target="avatarkit_motions.source:BuiltinMotions",
        config="avatarkit_motions.config:BuiltinConfig",
        summary="talk, gesture, turn and make faces, for any body model; made by rule, free for every use",
    )
