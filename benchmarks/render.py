"""How fast the CPU rasterisers are, beside the plain torch references, in one run.

    python benchmarks/render.py                                  everything: some minutes
    python benchmarks/render.py --gaussians 150000 --sizes 288x512 --threads 1 2

The scene is a person of capsules that fills the frame at 2.5 m, covered by opaque Gaussians of 1.5 to 4 mm; the mesh is
a ball of 27,000 faces that fills it. Times are wall-clock medians with quartiles over ``--repeats`` pictures after
two to warm up. torch runs one thread during our kernels, since threads of its own that wait for work take their cores.

The reference compares every pixel with every Gaussian, so a whole picture of 150,000 would take minutes and more memory
than there is. It draws one pixel, which shows what is spent per Gaussian, and a window in the middle, which shows what
is spent per pixel; its time for the picture follows from both. gsplat's pure torch functions are no peer here: their
blending calls its CUDA extension.

``first_call_seconds`` is a picture, a mesh and both derivatives in a new process that has no kept kernels: what a user
waits for once per machine.
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

from avatarkit.camera import Camera, front_camera
from avatarkit.gaussians import Gaussians
from avatarkit.interfaces import Context
from avatarkit.kernels.gaussians import render_gaussians
from avatarkit.mesh import Mesh
from avatarkit_cpu.config import Config
from avatarkit_cpu.renderer import CpuRenderer

# Capsules: one end, other end, radius; metres, y up, feet at 0.
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
    """A closed ball that fills the frame at 2.5 m; 4 * rings * (rings - 1) faces."""
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
    fields = (gaussians.means, gaussians.scales, gaussians.colors, gaussians.opacities)
    return Gaussians(*(t.detach().clone().requires_grad_() for t in fields))


def measure(forward: Callable[[], list[torch.Tensor]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds [lower quartile, median, upper quartile] of a picture and of its derivative."""
    times: dict[str, list[float]] = {"forward": [], "backward": []}
    for n in range(repeats + 2):
        begin = time.perf_counter()
        outputs = forward()
        drawn = time.perf_counter()
        torch.autograd.backward(outputs, [torch.ones_like(t) for t in outputs])
        end = time.perf_counter()
        if n >= 2:
            times["forward"].append((drawn - begin) * 1e3)
            times["backward"].append((end - drawn) * 1e3)
    return {name: [round(q, 2) for q in statistics.quantiles(values, n=4)] for name, values in times.items()}


def splat(renderer: CpuRenderer, gaussians: Gaussians, camera: Camera, repeats: int) -> dict[str, list[float]]:
    def forward() -> list[torch.Tensor]:
        out = renderer.gaussians.render(leaves(gaussians), camera, torch.ones(3))
        return [out.rgb, out.alpha]

    return measure(forward, repeats)


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
    return {
        name: [round(a + (b - a) * factor, 1) for a, b in zip(pixel[name], window[name], strict=True)] for name in pixel
    }


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
    """What ``first_call_seconds`` runs: draws once and prints the seconds, without those of imports."""
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
    cells = [f"{row['what']:<10} {row['count']:>7} {row['size']:>9} {row['threads']:>7}"]
    for name in ("forward", "backward"):
        low, median, high = row[name]
        cells.append(f"{median:>10.1f} ({low:.1f} to {high:.1f})".ljust(34))
    print("".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the CPU rasterisers.")
    parser.add_argument("--gaussians", type=int, nargs="+", default=[10_000, 50_000, 150_000])
    parser.add_argument("--sizes", nargs="+", default=["256x256", "288x512", "512x512", "1024x1024"], metavar="WxH")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, default=Path("render.json"), help="where the numbers go")
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
        "first_call_seconds": round(first_call_seconds(), 1),
        "rows": [],
    }
    print(f"{report['processor']}, {report['cores']} cores; first call {report['first_call_seconds']} s")
    print("what         count      size threads   forward ms (quartiles)            backward ms (quartiles)")
    renderers = {threads: CpuRenderer(Config(threads=threads), Context()) for threads in options.threads}

    def add(what: str, count: int, size: str, threads: int, times: dict[str, list[float]]) -> None:
        row = {"what": what, "count": count, "size": size, "threads": threads, **times}
        report["rows"].append(row)
        show(row)

    mesh = ball(82)
    for size in options.sizes:
        camera = front_camera(*map(int, size.split("x")))
        for threads, renderer in renderers.items():
            add("mesh", len(mesh.faces), size, threads, draw_mesh(renderer, mesh, camera, options.repeats))
        for count in options.gaussians:
            gaussians = person(count)
            add("reference", count, size, 1, splat_reference(gaussians, camera, max(2, options.repeats // 5)))
            for threads, renderer in renderers.items():
                add("gaussians", count, size, threads, splat(renderer, gaussians, camera, options.repeats))
    options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
