"""The ledger of licenses as an SPDX 2.3 document, written and checked by spdx-tools."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from avatarkit import __version__
from avatarkit.errors import MissingDependency
from avatarkit.registry.specs import DISTRIBUTION
from avatarkit_cli.trust.ledger import Entry

__all__ = ["spdx_document"]


def spdx_document(entries: Sequence[Entry], name: str, license: str = "") -> str:
    """Return the document as JSON.

    Terms that are no SPDX expression become ``LicenseRef-...`` with their text. What avatarkit does not know is NOASSERTION.

    Args:
        entries: of the ledger.
        name: of what they belong to.
        license: of that itself; "" = unknown.

    Raises:
        MissingDependency: spdx-tools is not installed.
    """
    try:
        from spdx_tools.spdx.model import (
            Actor,
            ActorType,
            CreationInfo,
            Document,
            ExtractedLicensingInfo,
            Package,
            PackagePurpose,
            Relationship,
            RelationshipType,
            SpdxNoAssertion,
        )
        from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
        from spdx_tools.spdx.writer.json.json_writer import write_document_to_stream
    except ImportError as error:
        raise MissingDependency(f'--spdx needs spdx-tools: pip install "{DISTRIBUTION}[spdx]".') from error

    other: dict[str, Any] = {}
    unknown = SpdxNoAssertion()

    def terms(text: str) -> Any:
        if not text or text == "not declared":
            return unknown
        return _expression(text) or _expression(_reference(text, other, ExtractedLicensingInfo))

    digest = hashlib.sha256(repr([entry.to_dict() for entry in entries]).encode()).hexdigest()[:16]
    maker = Actor(ActorType.TOOL, f"avatarkit-{__version__}")
    info = CreationInfo(
        "SPDX-2.3", "SPDXRef-DOCUMENT", name, f"https://spdx.org/spdxdocs/avatarkit-{digest}", [maker],
        datetime.now(UTC).replace(microsecond=0, tzinfo=None),
    )  # fmt: skip
    root = Package(
        "SPDXRef-root", name, unknown, files_analyzed=False, license_declared=terms(license),
        license_concluded=unknown, copyright_text=unknown, primary_package_purpose=PackagePurpose.APPLICATION,
    )  # fmt: skip
    packages, relations = [root], [Relationship("SPDXRef-DOCUMENT", RelationshipType.DESCRIBES, "SPDXRef-root")]
    for number, entry in enumerate(entries):
        parts = [("code", entry.code, PackagePurpose.LIBRARY)] if entry.code else []
        parts += [("weights", entry.weights, PackagePurpose.OTHER)] if entry.weights else []
        for part, text, purpose in parts:
            told = [f"training data: {entry.data}"] if part == "weights" and entry.data else []
            told += [f"in doubt: {entry.doubt}"] if entry.doubt else []
            allowed = {True: "allowed", False: "not allowed", None: "ask the source"}[entry.commercial]
            package = Package(
                f"SPDXRef-{number}-{part}", f"{entry.name} ({part})", unknown, files_analyzed=False,
                license_declared=terms(text), license_concluded=unknown, copyright_text=unknown,
                source_info=entry.source or None, comment="; ".join([*told, f"commercial use: {allowed}"]),
                primary_package_purpose=purpose,
            )  # fmt: skip
            packages.append(package)
            relations.append(Relationship("SPDXRef-root", RelationshipType.DEPENDS_ON, package.spdx_id))
    document = Document(info, packages=packages, relationships=relations, extracted_licensing_info=list(other.values()))
    if wrong := validate_full_spdx_document(document):
        raise AssertionError("; ".join(message.validation_message for message in wrong))
    stream = io.StringIO()
    write_document_to_stream(document, stream, validate=False)
    return stream.getvalue()


def _expression(text: str) -> Any:
    """Return an SPDX expression of known licenses and references; None if it is not one."""
    from license_expression import ExpressionError, get_spdx_licensing

    licensing = get_spdx_licensing()
    try:
        parsed = licensing.parse(text)
    except (ExpressionError, AttributeError):
        return None
    unknown = [key for key in licensing.unknown_license_keys(parsed) if not key.startswith("LicenseRef-")]
    return None if unknown else parsed


def _reference(text: str, other: dict[str, Any], kind: Any) -> str:
    """Return the reference to a text that is no SPDX expression."""
    short = re.sub("[^A-Za-z0-9.]+", "-", text)[:40].strip("-.")
    name = f"LicenseRef-{short}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
    other[name] = kind(license_id=name, extracted_text=text, license_name=text[:80])
    return name
