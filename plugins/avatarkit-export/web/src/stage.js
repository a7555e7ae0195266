// What is drawn: the splats, the mesh beneath them, and pictures of both.

import { SparkRenderer } from "@sparkjsdev/spark";
import * as THREE from "three";

import { Splats } from "./splats.js";

export const MODES = ["splats", "mesh", "wireframe"];

export class Stage {
  constructor(canvas, view, body, arrays) {
    Object.assign(this, { canvas, view, body });
    this.renderer = new THREE.WebGLRenderer({ canvas, alpha: true, antialias: false, preserveDrawingBuffer: false });
    this.scene = new THREE.Scene();
    this.splats = new Splats(body, arrays);
    // What avatarkit's own rasterisers do: 0.3 square pixels of blur, sorted by depth, nothing fainter than 1/255.
    this.spark = new SparkRenderer({
      renderer: this.renderer,
      preBlurAmount: 0.3,
      blurAmount: 0,
      maxStdDev: 3.33,
      minAlpha: 1 / 255,
      sortRadial: false,
      accumExtSplats: true,
      enableLod: false,
      onDirty: () => this.ask(),
    });
    this.mesh = surfaceMesh(body, arrays);
    this.scene.add(this.spark, this.splats.object, this.mesh, ...lights());
    this.mode = "splats";
    this.background = "#ffffff";
    this.ratio = Math.min(window.devicePixelRatio || 1, 2);
    this.asked = false;
    this.frames = 0;
    this.beforeFrame = () => false;
    this.busy = null;
    view.changed = () => this.ask();
    this.show("splats");
  }

  /** Draws soon; `beforeFrame(seconds)` may pose the body and says whether it wants another frame. */
  ask() {
    if (this.asked || this.busy) return;
    this.asked = true;
    requestAnimationFrame((now) => {
      this.asked = false;
      if (this.busy) return;
      const more = this.beforeFrame(now / 1000);
      this.draw();
      if (more) this.ask();
    });
  }

  /** After `body.pose`. */
  posed() {
    this.splats.update();
    if (this.mesh.visible) this.updateMesh();
  }

  updateMesh() {
    this.mesh.geometry.attributes.position.needsUpdate = true;
    this.mesh.geometry.computeVertexNormals();
  }

  show(mode) {
    this.mode = mode;
    this.splats.object.visible = this.spark.visible = mode === "splats";
    this.mesh.visible = mode !== "splats";
    this.mesh.material.wireframe = mode === "wireframe";
    if (this.mesh.visible) this.updateMesh();
    this.ask();
  }

  resize() {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (!width || !height) return;
    this.renderer.setPixelRatio(this.ratio);
    this.renderer.setSize(width, height, false);
    this.view.aspect = width / height;
    this.view.place();
  }

  draw() {
    const clear = this.background !== "transparent";
    this.splats.look(this.view.camera);
    this.renderer.setClearColor(clear ? this.background : 0, clear ? 1 : 0);
    this.renderer.render(this.scene, this.view.camera);
    this.frames += 1;
  }

  /** One picture of exactly this pose and view, sorted for it, as a PNG's data URL. */
  async picture(width, height) {
    while (this.busy) await this.busy;
    const shot = this.shoot(width, height);
    this.busy = shot.catch(() => {});
    try {
      return await shot;
    } finally {
      this.busy = null;
      this.ask();
    }
  }

  async shoot(width, height) {
    const { renderer, spark, view, scene } = this;
    const aspect = view.aspect;
    renderer.setPixelRatio(1);
    renderer.setSize(width, height, false);
    view.aspect = width / height;
    view.place();
    view.camera.updateMatrixWorld();
    try {
      if (this.mode === "splats") {
        this.splats.look(view.camera);
        const idle = async () => {
          while (spark.sorting || spark.sortDirty) await new Promise((done) => setTimeout(done, 5));
        };
        await idle();
        await spark.update({ scene, camera: view.camera });
        await idle();
      }
      this.draw();
      return this.canvas.toDataURL("image/png");
    } finally {
      view.aspect = aspect;
      this.resize();
    }
  }
}

function surfaceMesh(body, arrays) {
  const geometry = new THREE.BufferGeometry();
  geometry.setAttribute("position", new THREE.BufferAttribute(body.vertices, 3));
  geometry.setIndex(new THREE.BufferAttribute(arrays.faces, 1));
  const material = new THREE.MeshStandardMaterial({ color: 0xb9c4cc, roughness: 0.8, side: THREE.DoubleSide });
  const mesh = new THREE.Mesh(geometry, material);
  mesh.frustumCulled = false;
  return mesh;
}

function lights() {
  const sun = new THREE.DirectionalLight(0xffffff, 2);
  sun.position.set(0.6, 1.2, 1.5);
  return [new THREE.HemisphereLight(0xffffff, 0x6a6f78, 1.4), sun];
}
