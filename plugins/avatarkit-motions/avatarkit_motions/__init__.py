"""Motions: made by rule (talking, gesturing, turning, expressions), from folders of files, from the TED Gesture Dataset."""

from avatarkit.hookspecs import License, Register, hookimpl


@hookimpl
def register_motion_sources(register: Register) -> None:
    register(
        "builtin",
        target="avatarkit_motions.source:BuiltinMotions",
        config="avatarkit_motions.config:BuiltinConfig",
        summary="talk, gesture, turn and make faces, for any body model; made by rule, free for every use",
    )
    register(
        "folder",
        target="avatarkit_motions.folder:FolderMotions",
        config="avatarkit_motions.config:FolderConfig",
        summary="your motion files (.bvh .glb .npz ...): --set motions.path=FOLDER",
        license=License(weights="none; the motions are under the terms of their makers", commercial=None, data="yours"),
    )
    register(
        "ted",
        target="avatarkit_motions.ted:TedMotions",
        config="avatarkit_motions.config:TedConfig",
        summary="your copy of the TED Gesture Dataset, the paper's choice: --set motions.path=FOLDER",
        license=License(
            weights="none; the dataset's talks are under CC BY-NC-ND 4.0 (TED)",
            commercial=False,
            data="TED's talks, CC BY-NC-ND 4.0",
            source="https://github.com/youngwoo-yoon/youtube-gesture-dataset",
        ),
    )
