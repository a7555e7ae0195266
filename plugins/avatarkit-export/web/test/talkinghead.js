// Loads a GLB in @met4citizen/talkinghead in Chromium, speaks visemes; prints what moved, as JSON.
// Usage: talkinghead.js FILE.glb [PICTURES-PREFIX]

import { onPage } from "./browser.js";
import { serve } from "./serve.js";

const [file, prefix] = process.argv.slice(2);
const PAGE = `<!doctype html><link rel="icon" href="data:,"><div id="avatar" style="width: 480px; height: 480px"></div>
<script type="importmap">{"imports": {"three": "/three/build/three.module.js", "three/addons/": "/three/examples/jsm/",
"talkinghead": "/@met4citizen/talkinghead/modules/talkinghead.mjs"}}</script>
<script type="module">
import { TalkingHead } from "talkinghead";
import * as THREE from "three";
const head = new TalkingHead(document.getElementById("avatar"), {
  ttsEndpoint: "none", lipsyncModules: [], cameraView: "full", avatarIdleHeadMove: 0, avatarSpeakingHeadMove: 0, modelFPS: 60,
});
window.loaded = head.showAvatar({ url: "/avatar.glb", body: "F", avatarMood: "neutral" }).then(() => true);
const v = new THREE.Vector3();
/** Each vertex with its shapes but without its bones, which breathe and sway. */
window.shape = () => {
  const mesh = head.morphs[0], { position } = mesh.geometry.attributes, out = [];
  const targets = mesh.geometry.morphAttributes.position;
  for (let i = 0; i < position.count; i++) {
    v.set(0, 0, 0);
    mesh.morphTargetInfluences.forEach((w, k) => {
      if (w && mesh.mouth.includes(k)) v.add({ x: w * targets[k].getX(i), y: w * targets[k].getY(i), z: w * targets[k].getZ(i) });
    });
    out.push(v.length());
  }
  return out;
};
window.ready = () => {
  const mesh = head.morphs[0];
  mesh.mouth = Object.entries(mesh.morphTargetDictionary).filter(([name]) => name.startsWith("viseme_")).map(([, k]) => k);
  const place = (name) => head.armature.getObjectByName(name).getWorldPosition(new THREE.Vector3()).toArray();
  const bones = ["Head", "LeftHand", "RightHand", "LeftArm", "RightArm", "LeftFoot", "Hips"];
  return Object.fromEntries(bones.map((name) => [name, place(name)]));
};
/** From here on frames come when we ask for them, every 20 ms of the player's clock, however busy the machine is. */
window.take = () => {
  cancelAnimationFrame(head._raf);
  window.requestAnimationFrame = () => 0;
};
const until = async (holds) => {
  while (!holds()) await new Promise((done) => setTimeout(done, 10));
};
window.speak = async (viseme) => {
  const context = head.audioCtx;
  await context.resume();
  const audio = new AudioBuffer({ length: context.sampleRate, sampleRate: context.sampleRate });
  head.speakAudio({ audio, words: ["a"], wtimes: [0], wdurations: [900], visemes: [viseme], vtimes: [300], vdurations: [300] });
  await until(() => head.isAudioPlaying);
  let most = { largest: 0 };
  for (let i = 0; i < 100; i++) {
    head.animate(head.animTimeLast + 20);
    const moved = window.shape();
    const largest = Math.max(...moved);
    if (largest > most.largest) most = { largest, moved: moved.filter((d) => d > 1e-3).length, of: moved.length };
  }
  await until(() => !head.isSpeaking);
  return most;
};
</script>`;

const server = await serve(PAGE, "/avatar.glb", file);

const done = await onPage(server.url, { width: 480, height: 480 }, async (page) => {
  await page.waitForFunction(() => window.loaded);
  await page.evaluate(() => window.loaded);
  await page.waitForTimeout(3000); // it walks into its pose
  const bones = await page.evaluate(() => window.ready());
  await page.evaluate(() => window.take());
  if (prefix) await page.screenshot({ path: `${prefix}rest.png` });
  const spoken = {};
  for (const viseme of ["aa", "PP", "U", "sil"]) spoken[viseme] = await page.evaluate((name) => window.speak(name), viseme);
  return { bones, spoken };
});
server.close();
console.log(JSON.stringify(done));
