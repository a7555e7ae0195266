"""What a signature says about a picture, film or export: that it is synthetic, of which avatar, and what was agreed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from avatarkit import __version__

__all__ = ["AVATAR", "CONSENT", "avatar_id", "definition", "source_type"]

AVATAR = "org.avatarkit.avatar"
CONSENT = "org.avatarkit.consent"
_TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"  # IPTC's vocabulary
_PLAIN = ("none", "")  # weights of a component that has none


def avatar_id(manifest: dict[str, Any]) -> str:
    """Return what tells avatars apart: the sha256 of their tensors; "" if unknown."""
    return str(manifest.get("files", {}).get("avatar.safetensors", ""))


def source_type(manifest: dict[str, Any]) -> str:
    """Return IPTC's digital source type of everything made with an avatar.

    A composite with synthetic parts; media of a trained algorithm once a generator with weights made pictures of the person.
    Weights that a plugin did not declare count.
    """
    for slot in ("body_labels", "head_labels"):
        use = (manifest.get("recipe", {}).get(slot) or {}).get("use")
        terms = manifest.get("licenses", {}).get(f"labels/{use}", {})
        if use and str(terms.get("weights", "")).partition(";")[0].strip() not in _PLAIN:
            return f"{_TERMS}trainedAlgorithmicMedia"
    return f"{_TERMS}compositeSynthetic"


def definition(manifest: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return the manifest of C2PA for one file, without thumbnails, the photo, names of people or the file's own name.

    Args:
        manifest: of the avatar.
        kind: media type.
    """
    made = {"name": "avatarkit", "version": __version__}
    created = {"action": "c2pa.created", "digitalSourceType": source_type(manifest), "softwareAgent": made}
    about = {
        "synthetic": True,
        "avatar": avatar_id(manifest),
        "recipe": str((manifest.get("recipe") or {}).get("name", "")),
        "avatarkit": str(manifest.get("avatarkit", "")),
    }
    agreed = _agreed(manifest)
    training = "allowed" if "training" in agreed.get("scope", ()) else "notAllowed"
    mining = {f"cawg.{use}": {"use": training} for use in ("ai_training", "ai_generative_training", "data_mining")}
    photo = (manifest.get("inputs") or {}).get("photo")
    source = {"title": "photo", "relationship": "inputTo", "instance_id": f"sha256:{photo}"}
    return {
        "claim_generator_info": [made],
        "format": kind,
        "ingredients": [source] if photo else [],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": AVATAR, "data": about},
            {"label": CONSENT, "data": agreed},
            {"label": "cawg.training-mining", "data": {"entries": mining}},
        ],
    }


def _agreed(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return what was agreed without saying who agreed: whoever gets a film need not learn the name."""
    record = manifest.get("consent_record")
    if record:
        digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
        days = {name: record.get(name, "") for name in ("given", "until")}
        return {"recorded": True, "scope": list(record.get("scope", ())), **days, "record": digest}
    return {"recorded": bool(manifest.get("consent")), "scope": []}
