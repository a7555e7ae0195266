"""Registration, options, threads and kept kernels."""

from __future__ import annotations

import threading
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from numba import njit

import avatarkit_cpu
from avatarkit.config.options import make_config
from avatarkit.errors import ConfigError
from avatarkit.interfaces import Context, GaussianRasterizer, MeshRasterizer, Renderer
from avatarkit.utils.threads import Workers, spans
from avatarkit_cpu.compiled import must_compile
from avatarkit_cpu.config import Config
from avatarkit_cpu.renderer import CpuRenderer
from avatarkit_cpu.simd import exp_negative, load, store


def test_the_hook_names_a_renderer() -> None:
    found: dict[str, Any] = {}
    avatarkit_cpu.register_renderers(lambda name, **descriptor: found.update({name: descriptor}))
    targets = [found["cpu"][key].split(":") for key in ("target", "config")]
    renderer, config = (getattr(import_module(module), name) for module, name in targets)
    made = renderer(config(threads=2), Context())
    assert isinstance(made, Renderer)
    assert isinstance(made.gaussians, GaussianRasterizer)
    assert isinstance(made.meshes, MeshRasterizer)


def test_threads_are_checked() -> None:
    with pytest.raises(ConfigError, match="-1"):
        make_config(Config, {"threads": -1})
    assert CpuRenderer(Config(), Context()) is not None


@pytest.mark.parametrize(("count", "parts"), [(0, 4), (1, 4), (7, 3), (8, 8), (100, 1)])
def test_spans_cover_everything_once(count: int, parts: int) -> None:
    found = spans(count, parts)
    assert len(found) <= max(parts, 1)
    assert [i for start, stop in found for i in range(start, stop)] == list(range(count))


def test_workers_share_the_work_and_pass_errors_on() -> None:
    workers = Workers(2)
    meeting = threading.Barrier(2, timeout=10)  # breaks unless two threads are at work at once
    done: list[tuple[int, int]] = []

    def meet(start: int, stop: int) -> None:
        meeting.wait()
        done.append((start, stop))

    workers.run(meet, [(0, 1), (1, 2)])
    assert sorted(done) == [(0, 1), (1, 2)]

    def fail(start: int, stop: int) -> None:
        raise RuntimeError(f"span {start}")

    with pytest.raises(RuntimeError, match="span"):
        workers.run(fail, [(0, 1), (1, 2)])
    workers.run(meet, [(0, 1), (1, 2)])
    assert len(done) == 4


def test_kept_kernels_know_all_their_sources() -> None:
    """A kernel inlines functions of other files, so every kernel's stamp must be that of all of them."""
    blending, projection = import_module("avatarkit_cpu.blending"), import_module("avatarkit_cpu.projection")
    stamps = {kernel._cache._cache_file._source_stamp for kernel in (blending.blend, projection.project)}
    assert len(stamps) == 1
    (stamp,) = stamps
    assert isinstance(stamp, str)
    assert len(stamp) == 64


def test_a_kernel_must_be_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "from avatarkit_cpu.compiled import kernel\n\n@kernel\ndef double(x):\n    return 2 * x\n"
    (tmp_path / "doubling.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    double = import_module("doubling").double
    assert must_compile(double)
    assert double(2) == 4
    assert not must_compile(double)


@pytest.mark.parametrize("missing", [True, False])
def test_the_first_run_says_that_it_compiles(monkeypatch: pytest.MonkeyPatch, missing: bool) -> None:
    said: list[str] = []
    monkeypatch.setattr("avatarkit_cpu.renderer.must_compile", lambda kernel: missing)
    CpuRenderer(Config(), replace(Context(), progress=lambda message, fraction: said.append(message)))
    assert said == ["compiling the rasterizers for this machine, once"] * missing


def test_an_exponential_good_enough_for_colors() -> None:
    @njit
    def run(values, out):
        for at in range(0, len(values), 16):
            store(out, at, exp_negative(load(values, at)))

    for dtype, tolerance in ((torch.float32, 5e-6), (torch.float64, 1e-12)):
        values = torch.linspace(0, 5.6, 1600, dtype=dtype)
        out = torch.empty_like(values)
        run(values.numpy(), out.numpy())
        torch.testing.assert_close(out, torch.exp(-values), rtol=tolerance, atol=0)
