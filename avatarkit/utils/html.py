"""HTML from templates in which every value is escaped, and how a notebook shows an avatar."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from avatarkit.utils.text import one_line, printable

if TYPE_CHECKING:
    import jinja2

__all__ = ["avatar_card", "avatar_line", "templates"]


def templates(package: str) -> jinja2.Environment:
    """Return the templates in the folder ``templates`` of a package.

    What they show is escaped, and characters that a reader cannot see or that turn the direction of text become visible.
    """
    import jinja2
    import markupsafe

    def shown(value: object) -> object:
        return value if isinstance(value, markupsafe.Markup) else printable(value)

    return jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        finalize=shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


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
    urls = {what: f"data:image/png;base64,{base64.b64encode(data).decode()}" for what, data in pictures.items()}
    line = avatar_line(name, contents, manifest)[1:-1]
    facts = {"consent": manifest.get("consent"), "warnings": manifest.get("warnings", ())}
    return templates("avatarkit.utils").get_template("card.html").render(name=name, line=line, pictures=urls, **facts)
