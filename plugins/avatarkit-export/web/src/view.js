// The camera: the photo's own, turned around the person as `avatarkit render --yaw --pitch` does, moved nearer, shifted.

import * as THREE from "three";

const NEAR = 0.02, FAR = 50;
const MAX_PITCH = 85;

export class View {
  constructor({ K, T_world_camera, width, height, box }, center) {
    Object.assign(this, { K, width, height, box });
    this.center = new THREE.Vector3(...center);
    const m = T_world_camera.flat();
    this.start = new THREE.Matrix4().set(...m);
    this.camera = new THREE.PerspectiveCamera(30, 1, NEAR, FAR);
    this.camera.updateProjectionMatrix = () => this.project();
    this.camera.matrixAutoUpdate = false;
    this.aspect = width / height;
    this.changed = () => {};
    this.reset();
  }

  reset() {
    Object.assign(this, { yaw: 0, pitch: 0, distance: 1, shiftX: 0, shiftY: 0 });
    this.place();
  }

  turn(yaw, pitch) {
    this.yaw = ((((this.yaw + yaw + 180) % 360) + 360) % 360) - 180;
    this.pitch = Math.max(-MAX_PITCH, Math.min(MAX_PITCH, this.pitch + pitch));
    this.place();
  }

  approach(factor) {
    this.distance = Math.max(0.2, Math.min(5, this.distance * factor));
    this.place();
  }

  /** By fractions of the picture's height. */
  shift(x, y) {
    this.shiftX = Math.max(-1, Math.min(1, this.shiftX + x));
    this.shiftY = Math.max(-1, Math.min(1, this.shiftY + y));
    this.place();
  }

  place() {
    const R0 = new THREE.Matrix4().extractRotation(this.start); // columns: the camera's x right, y down, z forward
    const right = new THREE.Vector3().setFromMatrixColumn(R0, 0);
    const tilt = new THREE.Matrix4().makeRotationAxis(right, (-this.pitch * Math.PI) / 180);
    const turn = new THREE.Matrix4().makeRotationY((this.yaw * Math.PI) / 180).multiply(tilt);
    const position = new THREE.Vector3().setFromMatrixPosition(this.start);
    position.sub(this.center).applyMatrix4(turn).multiplyScalar(this.distance).add(this.center);
    const world = turn.multiply(R0).multiply(new THREE.Matrix4().makeScale(1, -1, -1)); // to y up, z backward
    world.setPosition(position);
    this.camera.matrix.copy(world);
    this.camera.matrixWorldNeedsUpdate = true;
    this.project();
    this.changed();
  }

  /** The part of the photo's image plane to show at this aspect ratio, pixels; as avatarkit.animation.frame_window. */
  window() {
    const { width: W, height: H, aspect } = this;
    if (Math.abs((aspect * H) / W - 1) < 0.03) return [0, 0, W, H];
    const [x0, y0, x1, y1] = this.box;
    const margin = 0.06 * (y1 - y0);
    const cut = y1 > H - 3;
    let top = y0 - margin;
    let height = (cut ? H : y1 + margin) - top;
    const needed = (cut ? 0.8 : 1.1) * (x1 - x0);
    if (height * aspect < needed) height = needed / aspect;
    if (!cut) top = (y0 + y1) / 2 - height / 2;
    return [(x0 + x1) / 2 - (height * aspect) / 2, top, height * aspect, height];
  }

  project() {
    const [[fx, , cx], [, fy, cy]] = this.K;
    const [x0, y0, width, height] = this.window();
    const [left, right, top, bottom] = [(x0 - cx) / fx, (x0 + width - cx) / fx, (cy - y0) / fy, (cy - y0 - height) / fy];
    const [x, y] = [this.shiftX * (top - bottom), this.shiftY * (top - bottom)];
    const window = [left - x, right - x, top + y, bottom + y].map((v) => v * NEAR);
    this.camera.projectionMatrix.makePerspective(...window, NEAR, FAR);
    this.camera.projectionMatrixInverse.copy(this.camera.projectionMatrix).invert();
  }

  /** Drags turn, two fingers and the wheel approach, two fingers or the right button shift; arrow keys, + and - as well. */
  listen(element) {
    const fingers = new Map();
    const middle = () => {
      const points = [...fingers.values()];
      const x = points.reduce((s, p) => s + p.x, 0) / points.length;
      const y = points.reduce((s, p) => s + p.y, 0) / points.length;
      return { x, y, spread: Math.max(1, Math.hypot(points[0].x - x, points[0].y - y)) };
    };
    element.addEventListener("pointerdown", (e) => {
      element.setPointerCapture(e.pointerId);
      fingers.set(e.pointerId, { x: e.clientX, y: e.clientY });
    });
    element.addEventListener("pointermove", (e) => {
      if (!fingers.has(e.pointerId)) return;
      const before = middle();
      fingers.set(e.pointerId, { x: e.clientX, y: e.clientY });
      const after = middle();
      const [dx, dy] = [(after.x - before.x) / element.clientHeight, (after.y - before.y) / element.clientHeight];
      if (fingers.size > 1) this.approach(before.spread / after.spread);
      if (fingers.size > 1 || e.buttons & 2 || e.shiftKey) this.shift(dx, dy);
      else this.turn(-dx * 150, dy * 110);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      element.addEventListener(end, (e) => fingers.delete(e.pointerId));
    }
    element.addEventListener("contextmenu", (e) => e.preventDefault());
    element.addEventListener("dblclick", () => this.reset());
    element.addEventListener("wheel", (e) => {
      e.preventDefault();
      this.approach(Math.exp(Math.sign(e.deltaY) * Math.min(0.25, Math.abs(e.deltaY) / 800)));
    }, { passive: false });
    const keys = {
      ArrowLeft: () => this.turn(-5, 0), ArrowRight: () => this.turn(5, 0),
      ArrowUp: () => this.turn(0, 5), ArrowDown: () => this.turn(0, -5),
      "+": () => this.approach(0.9), "=": () => this.approach(0.9), "-": () => this.approach(1 / 0.9), 0: () => this.reset(),
    };
    element.addEventListener("keydown", (e) => {
      if (!keys[e.key] || e.ctrlKey || e.metaKey || e.altKey) return;
      e.preventDefault();
      keys[e.key]();
    });
  }
}
