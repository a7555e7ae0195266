// Loads a VRM with @pixiv/three-vrm in Chromium, plays an expression, turns the head; prints what moved, as JSON.
// Usage: vrm.js FILE.vrm PICTURES-PREFIX

import { writeFileSync } from "node:fs";

import { onPage } from "./browser.js";
import { serve } from "./serve.js";

const [file, prefix] = process.argv.slice(2);
const PAGE = `<!doctype html><link rel="icon" href="data:,"><canvas id="c" width="384" height="384"></canvas>
<script type="importmap">{"imports": {"three": "/three/build/three.module.js", "three/addons/": "/three/examples/jsm/",
"@pixiv/three-vrm": "/@pixiv/three-vrm/lib/three-vrm.module.js"}}</script>
<script type="module">
import * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { VRMLoaderPlugin } from "@pixiv/three-vrm";
const canvas = document.getElementById("c");
const renderer = new THREE.WebGLRenderer({ canvas });
renderer.setSize(384, 384, false);
renderer.setClearColor(0xffffff);
const loader = new GLTFLoader();
loader.register((parser) => new VRMLoaderPlugin(parser));
window.loaded = loader.loadAsync("/avatar.vrm").then(({ userData: { vrm } }) => {
  const scene = new THREE.Scene();
  scene.add(vrm.scene);
  vrm.scene.traverse((o) => (o.frustumCulled = false));
  const head = vrm.humanoid.getRawBoneNode("head");
  const at = head.getWorldPosition(new THREE.Vector3());
  const camera = new THREE.PerspectiveCamera(24, 1, 0.05, 20);
  camera.position.set(at.x, at.y, at.z + 1.6);
  camera.lookAt(at);
  window.shot = () => (vrm.update(0), renderer.render(scene, camera), canvas.toDataURL());
  window.vrm = vrm;
  const mesh = vrm.scene.getObjectByProperty("type", "SkinnedMesh");
  window.moved = () => {
    const out = [], v = new THREE.Vector3();
    vrm.update(0);
    vrm.scene.updateMatrixWorld(true);
    for (let i = 0; i < mesh.geometry.attributes.position.count; i++) out.push(...mesh.getVertexPosition(i, v).applyMatrix4(mesh.matrixWorld));
    return out;
  };
  return Object.keys(vrm.expressionManager.expressionMap).length;
});
</script>`;

const server = await serve(PAGE, "/avatar.vrm", file);

const done = await onPage(server.url, {}, async (page) => {
  await page.waitForFunction(() => window.loaded);
  const expressions = await page.evaluate(() => window.loaded);
  const states = {
    rest: () => {},
    aa: () => window.vrm.expressionManager.setValue("aa", 1),
    head: () => {
      window.vrm.expressionManager.setValue("aa", 0);
      window.vrm.humanoid.getNormalizedBoneNode("head").rotation.y = 0.5;
    },
  };
  const shapes = {};
  for (const [name, change] of Object.entries(states)) {
    await page.evaluate(change);
    shapes[name] = await page.evaluate(() => window.moved());
    const url = await page.evaluate(() => window.shot());
    if (prefix) writeFileSync(`${prefix}${name}.png`, Buffer.from(url.split(",")[1], "base64"));
  }
  const distances = (name) => {
    const out = [];
    for (let i = 0; i < shapes.rest.length; i += 3) {
      out.push(Math.hypot(...[0, 1, 2].map((k) => shapes[name][i + k] - shapes.rest[i + k])));
    }
    return { largest: Math.max(...out), moved: out.filter((d) => d > 1e-3).length, of: out.length };
  };
  return { expressions, aa: distances("aa"), head: distances("head") };
});
server.close();
console.log(JSON.stringify(done));
