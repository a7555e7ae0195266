"""What the command does, apart from the command line: easy to test, and to call from Python."""

from __future__ import annotations

from avatarkit import InputError, LoadedAvatar


def describe(avatar: LoadedAvatar) -> str:
    """Return one line: what an avatar is made of, and how long its build took.

    Raises:
        InputError: the avatar does not say how it was built. The user gets the sentence and exit code 2, no traceback.
    """
    stages = avatar.manifest.get("stages")
    if not stages:
        raise InputError(f"The avatar {avatar.name} does not say how it was built. Build it again.")
    seconds = sum(stage["seconds"] for stage in stages.values())
    return f"{avatar.name}: {avatar.contents}, built in {seconds:.0f} s"
