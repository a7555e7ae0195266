"""Settings of all tests, of the core and of the plugins."""

from __future__ import annotations

import gc
import os

from hypothesis import settings

# Several processes (pytest -n 2) share the cores; what tests start inherits this. Read when torch is first imported.
workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if workers > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

# Shared machines are slow at times; the same examples every time.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")

for name in ("AVATARKIT_PLUGINS", "AVATARKIT_STRICT", "AVATARKIT_TRACE"):
    os.environ.pop(name, None)


def pytest_collection_finish() -> None:
    """Spare the garbage collector modules and tests: builds run it in full, 0.4 s each time with 600,000 objects."""
    gc.collect()
    gc.freeze()
