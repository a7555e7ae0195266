"""Which avatars were revoked: their manifests say so, and a list of the user's knows their copies."""

from __future__ import annotations

from typing import Any

from avatarkit.errors import StoreError
from avatarkit.utils.files import write_text
from avatarkit.utils.plain import BadText, parse_json
from avatarkit.utils.text import json_safe
from avatarkit_provenance.claims import avatar_id
from avatarkit_provenance.keys import own_folder

__all__ = ["remember", "revocation"]

_MOST_BYTES = 16 << 20


def revocation(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """Return date, reason and whether the tensors were erased, if the consent to an avatar was revoked; else None."""
    own = manifest.get("revoked")
    known = _known().get(avatar_id(manifest)) if avatar_id(manifest) else None
    return own or known


def remember(avatar: str, entry: dict[str, Any]) -> None:
    """Add an avatar to the user's list.

    Args:
        avatar: its ``avatar_id``.
        entry: date and reason.

    Raises:
        StoreError: the list cannot be written.
    """
    import json

    write_text(_path(), json_safe(json.dumps({**_known(), avatar: entry}, indent=2)) + "\n")


def _path() -> Any:
    return own_folder().with_name("revoked.json")


def _known() -> dict[str, Any]:
    path = _path()
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise StoreError(f"The list of revoked avatars {path} is too large; move it away.")
        found = parse_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except NotADirectoryError:
        return {}
    except (OSError, BadText) as error:
        raise StoreError(f"The list of revoked avatars {path} cannot be read ({error}); repair it or move it away.") from error
    return {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}
