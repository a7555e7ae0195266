"""How a notebook shows an avatar: a picture and a few facts."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from avatarkit.utils.text import escaped, one_line

__all__ = ["avatar_card", "avatar_line"]


def avatar_line(name: str, contents: str, manifest: Mapping[str, Any]) -> str:
    """One line: name, what it is made of, how it was built."""
    preset = manifest.get("recipe", {}).get("name") or "a recipe"
    return one_line(f"<avatar {name}: {contents}, built with {preset} by avatarkit {manifest.get('avatarkit', '?')}>")


def avatar_card(name: str, contents: str, manifest: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """HTML for notebooks.

    Args:
        name: of the avatar.
        contents: what it is made of.
        manifest: of its folder.
        pictures: what each shows -> PNG.
    """
    images = "".join(
        f'<img alt="{escaped(f"{name}, {what}")}" src="data:image/png;base64,{base64.b64encode(data).decode()}" '
        'style="height:16em">'
        for what, data in pictures.items()
    )
    warnings = "".join(f"<li>{escaped(text)}</li>" for text in manifest.get("warnings", ()))
    consent = escaped(manifest.get("consent") or "none was recorded")
    return (
        f'<div style="display:flex;background:#fff">{images}</div><p>{escaped(avatar_line(name, contents, manifest)[1:-1])}. '
        f"Synthetic; consent: {consent}</p>" + (f"<ul>{warnings}</ul>" if warnings else "")
    )
