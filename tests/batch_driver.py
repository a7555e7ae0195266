"""A driver of stub workers for tests that kill it: ``python batch_driver.py FOLDER_OF_PHOTOS RUN``."""

from __future__ import annotations

import sys
from pathlib import Path

from avatarkit_cli.batch.driver import Workshop, drive
from avatarkit_cli.batch.executors import Local
from avatarkit_cli.batch.index import Index
from avatarkit_cli.batch.inputs import read_photos

STUB = (sys.executable, str(Path(__file__).with_name("batch_stub.py")))


def run(photos: Path, folder: Path) -> None:
    with Index(folder) as index:
        index.add(read_photos([photos]), lambda preset: {})
        with Workshop(folder, {"": {"recipe": {}}}) as workshop:
            workshop.take_in(index, workshop.leftovers())
            index.resume()
            drive(index, workshop, Local(2, STUB), lambda text, part: None)


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))
