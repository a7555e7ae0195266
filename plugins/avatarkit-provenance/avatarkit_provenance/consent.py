"""What the person agreed to, checked before an avatar is used."""

from __future__ import annotations

from datetime import date
from typing import Any

from avatarkit.errors import ConfigError, InputError
from avatarkit.utils.text import shortened
from avatarkit_provenance.keys import preflight
from avatarkit_provenance.revocations import revocation

__all__ = ["check_use"]


def check_use(manifest: dict[str, Any], purpose: str, policy: dict[str, str]) -> None:
    """See the hook ``use_avatar``.

    Scope and dates are checked where the manifest holds a record of consent; a consent that is plain text, or none, has neither.
    No command trains a network on an avatar, so the scope ``training`` allows nothing here; signatures tell others of it.

    Raises:
        InputError: the avatar was revoked and erased, or there is nothing to sign with.
        ConfigError: the use goes beyond the consent, and the user did not say ``anyway``.
    """
    ended = revocation(manifest)
    if ended is not None and ended.erased:
        raise InputError(f"This avatar was revoked and erased on {ended.date or 'an unknown date'}; it cannot be used.")
    if policy.get("sign") != "no":
        preflight(policy)
    if policy.get("anyway"):
        return
    remedy = "Ask the person, or use --anyway."
    if ended is not None:
        reason = f" ({shortened(ended.reason, 200)})" if ended.reason else ""
        raise ConfigError(f"The consent to {ended.what} was revoked on {ended.date or 'an unknown date'}{reason}. {remedy}")
    record = manifest.get("consent_record")
    if not record:
        return
    until, today = record.get("until", ""), date.today().isoformat()
    if until and today > until:
        raise ConfigError(f"The consent ended on {until}. {remedy}")
    if (given := record.get("given", "")) and today < given:
        raise ConfigError(f"The consent begins on {given}, and the clock of this machine says {today}. {remedy}")
    needed = {
        "voice": ("speech", purpose == "voice"),
        "commercial": ("commercial use", manifest.get("purpose") == "commercial"),
    }
    for name, (what, asked) in needed.items():
        if asked and name not in record.get("scope", ()):
            scope = ", ".join(record.get("scope", ())) or "nothing"
            raise ConfigError(f"The consent does not cover {what} (its scope: {scope}). {remedy}")
