"""``report.html`` of a run: a contact sheet that filters and sorts, and loads nothing but pictures beside it."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any
from urllib.parse import quote

import markupsafe

from avatarkit.utils.files import writing
from avatarkit.utils.html import templates
from avatarkit_cli.batch.index import Index

__all__ = ["write_sheet"]


def write_sheet(index: Index) -> None:
    """Write the contact sheet, row by row.

    Raises:
        StoreError: it cannot be written.
    """
    style = resources.files("avatarkit.report").joinpath("templates/page.css").read_text(encoding="utf-8")
    script = resources.files("avatarkit_cli.batch").joinpath("templates/sheet.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = templates("avatarkit_cli.batch").get_template("sheet.html")
    parts = page.generate(
        name=index.folder.absolute().name,
        counts=index.counts(),
        rows=map(_shown, index.rows()),
        style=markupsafe.Markup(style),
        script=markupsafe.Markup(script),
        script_digest=digest,
    )
    with writing(index.folder / "report.html") as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(parts)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its links; a name may hold characters that mean something in an address."""
    stages = row["seconds"] or {}
    return row | {"link": f"avatars/{quote(row['name'])}.avatar", "took": sum(stages.values()) if stages else None}
