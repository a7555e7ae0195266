"""Run inside Blender, or by a Python with bpy: import a file, report what came in, and render it.

Usage: blender_scene.py FILE SECONDS RESULT.json PICTURE.png
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import bpy
from mathutils import Vector


def load(file: Path) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    if file.suffix == ".bvh":
        bpy.ops.import_anim.bvh(filepath=str(file), global_scale=0.01, update_scene_fps=True)
    else:
        bpy.ops.import_scene.gltf(filepath=str(file))


def go_to(seconds: float) -> None:
    """Files start at frame 0 (glTF) or 1 (BVH)."""
    scene = bpy.context.scene
    start = min((action.frame_range[0] for action in bpy.data.actions), default=0.0)
    frame = start + seconds * scene.render.fps / scene.render.fps_base
    scene.frame_set(math.floor(frame + 1e-6), subframe=max(0.0, frame - math.floor(frame + 1e-6)))


def facts() -> dict[str, Any]:
    """Return bones, shapes and clips, and vertices as they are seen now, all in world space."""
    graph = bpy.context.evaluated_depsgraph_get()
    found: dict[str, Any] = {"version": bpy.app.version_string, "actions": sorted(a.name for a in bpy.data.actions)}
    for thing in bpy.context.scene.objects:
        if thing.type == "ARMATURE":
            found["bones"] = {b.name: list(thing.matrix_world @ b.head) for b in thing.pose.bones}
        elif thing.type == "MESH" and thing.vertex_groups:  # others are shapes that Blender draws for bones
            seen = thing.evaluated_get(graph).data
            found["vertices"] = [list(thing.matrix_world @ v.co) for v in seen.vertices]
            found["shapes"] = [k.name for k in thing.data.shape_keys.key_blocks]
            found["materials"] = [m.name for m in thing.data.materials]
    return found


def render(points: list[list[float]], picture: Path) -> None:
    """Render from the front, on transparency: Blender's front is -y."""
    scene = bpy.context.scene
    low, high = (Vector(f(p[i] for p in points) for i in range(3)) for f in (min, max))
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    camera.data.type, camera.data.ortho_scale = "ORTHO", 1.05 * max(high - low)
    camera.location = (low + high) / 2 - Vector((0, 10, 0))
    camera.rotation_euler = (math.pi / 2, 0, 0)
    scene.camera = camera
    scene.render.engine, scene.cycles.device, scene.cycles.samples = "CYCLES", "CPU", 8
    scene.render.resolution_x = scene.render.resolution_y = 128
    scene.render.film_transparent, scene.view_settings.view_transform = True, "Standard"
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.filepath = str(picture)
    bpy.ops.render.render(write_still=True)


def main() -> None:
    arguments = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    file, seconds, result, picture = arguments
    load(Path(file))
    go_to(float(seconds))
    found = facts()
    if "vertices" in found:
        render(found["vertices"], Path(picture))
    Path(result).write_text(json.dumps(found), encoding="utf-8")


main()
