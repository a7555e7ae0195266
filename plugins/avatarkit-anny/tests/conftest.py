import logging
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from avatarkit.interfaces import Context
from avatarkit_anny.config import AnnyConfig
from avatarkit_anny.model import AnnyBody


@dataclass
class Built:
    """A body made in a cache that held a damaged file, and what was said meanwhile."""

    body: AnnyBody
    cache: Path
    log: list[str] = field(default_factory=list)
    progress: list[tuple[str, float]] = field(default_factory=list)


class _Listener(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self.said = said

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Built:
    from importlib.metadata import version

    from avatarkit_anny.tables import REVISION

    threads = torch.get_num_threads()
    cache = tmp_path_factory.mktemp("cache")
    (cache / "anny").mkdir()
    (cache / "anny" / f"tables-{version('anny')}-{REVISION}.safetensors").write_bytes(b"not tables at all")
    log: list[str] = []
    progress: list[tuple[str, float]] = []
    listener = _Listener(log)
    logger = logging.getLogger("avatarkit.anny")
    logger.addHandler(listener)
    body = AnnyBody(AnnyConfig(), Context(cache=cache, progress=lambda m, f=None: progress.append((m, f))))
    logger.removeHandler(listener)
    assert torch.get_num_threads() == threads
    return Built(body, cache, log, progress)


@pytest.fixture(scope="session")
def body(built) -> AnnyBody:
    return built.body
