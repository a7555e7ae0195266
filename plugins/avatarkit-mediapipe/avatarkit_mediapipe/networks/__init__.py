"""The networks of MediaPipe, run with torch from the files in ``models``."""

from __future__ import annotations
