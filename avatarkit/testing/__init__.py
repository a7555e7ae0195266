"""For authors of plugins: what to test a component on, and the tests.

The tests of a whole plugin are one line in a file of its project::

    from avatarkit.testing import conformance

    import avatarkit_mine

    test_conformance = conformance(avatarkit_mine)

``tiny_build`` runs a whole build with the plugin in it, in a second or two; ``tiny_context``, ``tiny_subject`` and the others are
for tests of your own. Everything here is synthetic and made in milliseconds, without any plugin.
"""

from __future__ import annotations

from avatarkit.testing.conformance import CheckFailed, Finding, check_component, conformance
from avatarkit.testing.material import Material, PhotoMaterial
from avatarkit.testing.method import TINY_RECIPE, memory_registry, tiny_build
from avatarkit.testing.tiny import ReferenceRenderer, TinyBody, tiny_context, tiny_motion, tiny_subject

__all__ = [
    "TINY_RECIPE",
    "CheckFailed",
    "Finding",
    "Material",
    "PhotoMaterial",
    "ReferenceRenderer",
    "TinyBody",
    "check_component",
    "conformance",
    "memory_registry",
    "tiny_build",
    "tiny_context",
    "tiny_motion",
    "tiny_subject",
]
