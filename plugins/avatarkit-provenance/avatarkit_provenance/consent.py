"""What the person agreed to, checked before an avatar is used."""

from __future__ import annotations

from datetime import date
from typing import Any

from avatarkit.errors import ConfigError, InputError
from avatarkit_provenance.keys import preflight
from avatarkit_provenance.revocations import revocation

__all__ = ["check_use"]


def check_use(manifest: dict[str, Any], purpose: str, policy: dict[str, str]) -> None:
    """See the hook ``use_avatar``. An avatar without a record of consent is not checked: nobody said what it may be used for.

    Raises:
        InputError: the avatar was revoked and erased.
        ConfigError: the use goes beyond the consent, and the user did not say ``anyway``.
    """
    ended = revocation(manifest)
    if ended is not None and ended.get("erased"):
        raise InputError(f"This avatar was revoked and erased on {ended.get('date', 'an unknown date')}; it cannot be used.")
    if policy.get("sign") != "no":
        preflight(policy)
    if policy.get("anyway"):
        return
    remedy = "Ask the person, or use --anyway."
    if ended is not None:
        reason = f" ({' '.join(ended['reason'].split())})" if ended.get("reason") else ""
        raise ConfigError(f"The consent to this avatar was revoked on {ended.get('date', 'an unknown date')}{reason}. {remedy}")
    record = manifest.get("consent_record")
    if not record:
        return
    until, today = record.get("until", ""), date.today().isoformat()
    if until and today > until:
        raise ConfigError(f"The consent ended on {until}. {remedy}")
    if (given := record.get("given", "")) and today < given:
        raise ConfigError(f"The consent begins on {given}, and the clock of this machine says {today}. {remedy}")
    needed = {"voice": "voice"}.get(purpose) or ("commercial" if manifest.get("purpose") == "commercial" else None)
    if needed and needed not in record.get("scope", ()):
        scope = ", ".join(record.get("scope", ())) or "nothing"
        what = "speech" if needed == "voice" else "commercial use"
        raise ConfigError(f"The consent does not cover {what} (its scope: {scope}). {remedy}")
