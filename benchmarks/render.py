"""How fast the CPU rasterizers are, beside gsplat's pure torch functions and two plain torch rasterizers, in one run.

    python benchmarks/render.py                                  everything: many minutes
    python benchmarks/render.py --gaussians 150000 --sizes 288x512 --threads 1 2

The scene is a person of capsules that fills the frame at 2.5 m, covered by opaque Gaussians of 1.5 to 4 mm; the mesh is
a ball of 27,000 faces that fills it. Times are medians with quartiles over ``--repeats`` pictures after two to warm up:
wall-clock, and the processor time of all threads, which other programs disturb less. torch runs one thread, since threads
of its own that wait for work take our cores.

- ``torch tiled``: sorts the Gaussians into tiles of 16 x 16 pixels as ours does and blends each tile with batched torch;
  autograd gives the derivative. What one writes who has no compiler.
- ``gsplat torch``: ``gsplat.rasterization`` over gsplat's own torch functions (``avatarkit_cuda.on_cpu``). Its dealing out to
  tiles is a Python loop, so it is left out above ``--gsplat-limit`` Gaussians.
- ``reference``: the formulas. It compares every pixel with every Gaussian, so a whole picture of 150,000 would take
  minutes and more memory than there is: one pixel and a window in the middle are drawn, and its time for the picture
  follows from both.

What is left out is said in the table and stands as null in the JSON. ``first_call_seconds`` is a picture, a mesh and both
derivatives in a new process that has no kept kernels: what a user waits for once per machine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import torch

from avatarkit.interfaces import Context
from avatarkit.reference.gaussians import ALPHA_MAX, ALPHA_MIN, NEAR, TRANSMITTANCE_MIN, project_gaussians, render_gaussians
from avatarkit.types.camera import Camera, front_camera
from avatarkit.types.gaussians import GaussianRendering, Gaussians
from avatarkit.types.mesh import Mesh
from avatarkit_cpu.config import Config
from avatarkit_cpu.renderer import CpuRenderer
from avatarkit_cuda.on_cpu import gsplat_on_cpu
from avatarkit_cuda.renderer import gsplat_arguments

# Capsules: one end, other end, radius; meters, y up, feet at 0.
CAPSULES = (
    ((0.0, 1.60, 0.0), (0.0, 1.66, 0.0), 0.10),
    ((0.0, 1.00, 0.0), (0.0, 1.40, 0.0), 0.16),
    ((0.20, 1.40, 0.0), (0.35, 1.10, 0.0), 0.045),
    ((-0.20, 1.40, 0.0), (-0.35, 1.10, 0.0), 0.045),
    ((0.35, 1.10, 0.0), (0.38, 0.80, 0.1), 0.04),
    ((-0.35, 1.10, 0.0), (-0.38, 0.80, 0.1), 0.04),
    ((0.10, 0.95, 0.0), (0.13, 0.50, 0.0), 0.08),
    ((-0.10, 0.95, 0.0), (-0.13, 0.50, 0.0), 0.08),
    ((0.13, 0.50, 0.0), (0.14, 0.05, -0.03), 0.055),
    ((-0.13, 0.50, 0.0), (-0.14, 0.05, -0.03), 0.055),
)
REFERENCE_PAIRS = 4_000_000


def person(count: int) -> Gaussians:
    """Opaque Gaussians spread evenly over the capsules, ordered by part and height as a texture's are."""
    generator = torch.Generator().manual_seed(0)
    areas = [2 * math.pi * r * (math.dist(a, b) + 2 * r) for a, b, r in CAPSULES]
    part = torch.multinomial(torch.tensor(areas), count, replacement=True, generator=generator).sort().values
    start, end, radius = (torch.tensor([c[k] for c in CAPSULES])[part] for k in range(3))
    length = (end - start).norm(dim=-1)
    axis = (end - start) / length[:, None]
    along = torch.rand(count, generator=generator) * (length + 2 * radius) - radius
    over = along - along.clamp(min=torch.zeros(()), max=length)
    side = torch.linalg.cross(axis, torch.tensor([0.0, 0.0, 1.0]).expand(count, 3))
    side = torch.nn.functional.normalize(side, dim=-1)
    angle = 2 * math.pi * torch.rand(count, 1, generator=generator)
    across = side * angle.cos() + torch.linalg.cross(axis, side) * angle.sin()
    means = start + axis * along[:, None] + across * (radius**2 - over**2).clamp(min=0).sqrt()[:, None]
    means = means[torch.argsort(part * 1000 + (along * 50).round(), stable=True)]
    scales = 0.0015 + 0.0025 * torch.rand(count, generator=generator)
    colors = torch.rand(count, 3, generator=generator)
    return Gaussians(means - torch.tensor([0.0, 0.88, 2.5]), scales, colors, torch.ones(count))


def ball(rings: int) -> Mesh:
    """Return a closed ball that fills the frame at 2.5 m; 4 * rings * (rings - 1) faces."""
    sides = 2 * rings
    polar = (torch.arange(1, rings) * (math.pi / rings))[:, None]
    around = torch.arange(sides) * (2 * math.pi / sides)
    band = torch.stack([polar.sin() * around.cos(), polar.cos().expand(-1, sides), polar.sin() * around.sin()], -1)
    vertices = torch.cat([band.reshape(-1, 3), torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])])
    ring, side = torch.meshgrid(torch.arange(rings - 2), torch.arange(sides), indexing="ij")
    a, b = ring * sides + side, ring * sides + (side + 1) % sides
    quads = torch.stack([a, b, a + sides, b, b + sides, a + sides], -1).reshape(-1, 3)
    first, following = torch.arange(sides), (torch.arange(sides) + 1) % sides
    top, bottom = torch.full((sides,), len(vertices) - 2), torch.full((sides,), len(vertices) - 1)
    last = (rings - 2) * sides
    caps = [torch.stack([top, following, first], -1), torch.stack([bottom, last + first, last + following], -1)]
    return Mesh(vertices * 0.85 - torch.tensor([0.0, 0.0, 2.5]), torch.cat([quads, *caps]))


def leaves(gaussians: Gaussians) -> Gaussians:
    return gaussians.map(lambda tensor: tensor.detach().clone().requires_grad_())


def measure(forward: Callable[[], list[torch.Tensor]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds [lower quartile, median, upper quartile] of a picture and of its derivative, and of the processor for both."""
    times: dict[str, list[float]] = {"forward": [], "backward": [], "processor": []}
    for n in range(repeats + min(repeats, 2)):
        begin, busy = time.perf_counter(), time.process_time()
        outputs = forward()
        drawn = time.perf_counter()
        torch.autograd.backward(outputs, [torch.ones_like(t) for t in outputs])
        end = time.perf_counter()
        if n >= min(repeats, 2):
            times["forward"].append((drawn - begin) * 1e3)
            times["backward"].append((end - drawn) * 1e3)
            times["processor"].append((time.process_time() - busy) * 1e3)
    return {name: quartiles(values) for name, values in times.items()}


def quartiles(values: list[float]) -> list[float]:
    return [round(q, 2) for q in (statistics.quantiles(values, n=4) if len(values) > 1 else values * 3)]


def splat(rasterizer: Any, gaussians: Gaussians, camera: Camera, repeats: int) -> dict[str, list[float]]:
    """Of anything with ``render``."""

    def forward() -> list[torch.Tensor]:
        out = rasterizer.render(leaves(gaussians), camera, torch.ones(3))
        return [out.rgb, out.alpha]

    return measure(forward, repeats)


class TorchTiles:
    """A tiled splatter in plain torch, for comparison: the formulas of ``avatarkit.reference.gaussians``."""

    side = 16

    def render(self, gaussians: Gaussians, camera: Camera, background: torch.Tensor) -> GaussianRendering:
        centers, sigma, z = project_gaussians(gaussians, camera)
        conics = torch.linalg.inv(sigma)
        rows = []
        across = -(-camera.width // self.side)
        lists = self._lists(gaussians, centers.detach(), sigma.detach(), z.detach(), camera)
        for top in range(0, camera.height, self.side):
            cells = []
            for column in range(across):
                cells.append(self._tile(lists[top // self.side * across + column], column * self.side, top, camera,
                                        centers, conics, gaussians, background))  # fmt: skip
            rows.append(torch.cat(cells, 1))
        picture = torch.cat(rows)
        return GaussianRendering(picture[..., :3], picture[..., 3], torch.zeros(camera.height, camera.width))

    def _lists(
        self, gaussians: Gaussians, centers: torch.Tensor, sigma: torch.Tensor, z: torch.Tensor, camera: Camera
    ) -> list[torch.Tensor]:
        """Gaussians of each tile, near to far."""
        reach = (2 * (gaussians.opacities.detach() / ALPHA_MIN).clamp(min=1).log())[:, None] * sigma.diagonal(dim1=1, dim2=2)
        reach = reach.sqrt()
        size = torch.tensor([-(-camera.width // self.side), -(-camera.height // self.side)])
        low = ((centers - reach) / self.side).floor().long().clamp(min=0)
        high = torch.minimum(((centers + reach) / self.side).floor().long() + 1, size)
        span = (high - low).clamp(min=0)
        count = span.prod(1) * (z > NEAR)
        owner = torch.arange(len(z)).repeat_interleave(count)
        number = torch.arange(len(owner)) - (count.cumsum(0) - count)[owner]
        tile = (low[owner, 1] + number // span[owner, 0]) * size[0] + low[owner, 0] + number % span[owner, 0]
        order = torch.argsort(z[owner], stable=True)
        order = order[torch.argsort(tile[order], stable=True)]
        return list(owner[order].split(torch.bincount(tile, minlength=int(size.prod())).tolist()))

    def _tile(
        self, listed: torch.Tensor, left: int, top: int, camera: Camera, centers: torch.Tensor, conics: torch.Tensor,
        gaussians: Gaussians, background: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        height, width = min(self.side, camera.height - top), min(self.side, camera.width - left)
        if len(listed) == 0:
            return torch.cat([background.expand(height, width, 3), torch.zeros(height, width, 1)], -1)
        y, x = torch.meshgrid(torch.arange(top, top + height), torch.arange(left, left + width), indexing="ij")
        d = torch.stack([x, y], -1).reshape(-1, 1, 2) + 0.5 - centers[listed]
        c = conics[listed]
        dx, dy = d.unbind(-1)
        power = 0.5 * (c[:, 0, 0] * dx * dx + 2 * c[:, 0, 1] * dx * dy + c[:, 1, 1] * dy * dy)
        alpha = (gaussians.opacities[listed] * torch.exp(-power)).clamp(max=ALPHA_MAX)
        alpha = torch.where(alpha >= ALPHA_MIN, alpha, 0)
        alpha = torch.where(torch.cumprod(1 - alpha, 1) > TRANSMITTANCE_MIN, alpha, 0)
        T = torch.cat([torch.ones(len(alpha), 1), torch.cumprod(1 - alpha, 1)], 1)
        rgb = (alpha * T[:, :-1]) @ gaussians.colors[listed] + T[:, -1:] * background
        return torch.cat([rgb, 1 - T[:, -1:]], 1).reshape(height, width, 4)


class GsplatTorch:
    """gsplat over its own torch functions."""

    def render(self, gaussians: Gaussians, camera: Camera, background: torch.Tensor) -> GaussianRendering:
        with gsplat_on_cpu() as gsplat:
            drawn, alpha, _ = gsplat.rasterization(**gsplat_arguments(gaussians, camera, background))
        return GaussianRendering(drawn[0], alpha[0, ..., 0], torch.zeros(camera.height, camera.width))


def splat_reference(gaussians: Gaussians, camera: Camera, repeats: int) -> dict[str, list[float]]:
    """One pixel and one window in the middle, drawn out to the whole picture."""
    largest = min(camera.width, camera.height, max(4, math.isqrt(REFERENCE_PAIRS // len(gaussians))))

    def draw(side: int) -> dict[str, list[float]]:
        window = camera.cropped((camera.width - side) // 2, (camera.height - side) // 2, side, side)

        def forward() -> list[torch.Tensor]:
            out = render_gaussians(leaves(gaussians), window, torch.ones(3))
            return [out.rgb, out.alpha]

        return measure(forward, repeats)

    pixel, window = draw(1), draw(largest)
    factor = (camera.width * camera.height - 1) / (largest * largest - 1)
    return {name: [round(a + (b - a) * factor, 1) for a, b in zip(pixel[name], window[name], strict=True)] for name in pixel}


def draw_mesh(renderer: CpuRenderer, mesh: Mesh, camera: Camera, repeats: int) -> dict[str, list[float]]:
    def forward() -> list[torch.Tensor]:
        return [renderer.meshes.render(Mesh(mesh.vertices.clone().requires_grad_(), mesh.faces), camera).mask]

    return measure(forward, repeats)


def first_call_seconds() -> float:
    """In a child process with an empty folder for kernels."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--first-call"]
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def first_call() -> None:
    """Draw once and print the seconds, without those of imports; ``first_call_seconds`` runs it."""
    renderer, camera = CpuRenderer(Config(), Context()), front_camera(64, 64)
    gaussians, mesh = leaves(person(10)), ball(4)
    begin = time.perf_counter()
    renderer.gaussians.render(gaussians, camera, torch.ones(3)).rgb.sum().backward()
    renderer.meshes.render(Mesh(mesh.vertices.requires_grad_(), mesh.faces), camera).mask.sum().backward()
    print(time.perf_counter() - begin)


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def show(row: dict[str, Any]) -> None:
    head = f"{row['what']:<13} {row['count']:>7} {row['size']:>9} {row['threads']:>7}"
    if row["forward"] is None:
        print(f"{head}   left out: {row['why']}", flush=True)
        return
    cells = [f"{row[name][1]:>10.1f} ({row[name][0]:.1f} to {row[name][2]:.1f})".ljust(34) for name in ("forward", "backward")]
    print(f"{head}{''.join(cells)}{row['processor'][1]:>10.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the CPU rasterizers.")
    parser.add_argument("--gaussians", type=int, nargs="+", default=[10_000, 50_000, 150_000])
    parser.add_argument("--sizes", nargs="+", default=["256x256", "288x512", "512x512", "1024x1024"], metavar="WxH")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--gsplat-limit", type=int, default=10_000, help="more Gaussians than that take gsplat minutes")
    parser.add_argument("--tiled-limit", type=int, default=30_000_000_000, help="pixels times Gaussians for torch tiled")
    parser.add_argument("--json", type=Path, default=Path("render.json"), help="where the numbers go")
    parser.add_argument("--skip-first-call", action="store_true", help="do not measure how long compiling takes")
    parser.add_argument("--first-call", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.first_call:
        first_call()
        return
    report: dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numba": numba.__version__},
        "first_call_seconds": None if options.skip_first_call else round(first_call_seconds(), 1),
        "rows": [],
    }
    print(f"{report['processor']}, {report['cores']} cores; first call {report['first_call_seconds']} s")
    title = "what            count      size threads   forward ms (quartiles)            backward ms (quartiles)"
    print(f"{title}      processor ms")
    renderers = {threads: CpuRenderer(Config(threads=threads), Context()) for threads in options.threads}

    def add(what: str, count: int, size: str, threads: int, times: dict[str, list[float]] | str) -> None:
        row: dict[str, Any] = {"what": what, "count": count, "size": size, "threads": threads}
        row |= times if isinstance(times, dict) else {"forward": None, "backward": None, "processor": None, "why": times}
        report["rows"].append(row)
        show(row)

    mesh = ball(82)
    for size in options.sizes:
        camera = front_camera(*map(int, size.split("x")))
        for threads, renderer in renderers.items():
            add("mesh", len(mesh.faces), size, threads, draw_mesh(renderer, mesh, camera, options.repeats))
        for count in options.gaussians:
            gaussians = person(count)
            few = max(1, options.repeats // 5)
            for threads, renderer in renderers.items():
                add("gaussians", count, size, threads, splat(renderer.gaussians, gaussians, camera, options.repeats))
            enough = count * camera.width * camera.height <= options.tiled_limit
            tiled = splat(TorchTiles(), gaussians, camera, few) if enough else "it would take minutes"
            add("torch tiled", count, size, 1, tiled)
            enough = count <= options.gsplat_limit
            add("gsplat torch", count, size, 1, splat(GsplatTorch(), gaussians, camera, 1) if enough else "it would take minutes")
            add("reference", count, size, 1, splat_reference(gaussians, camera, max(2, few)))
    options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
