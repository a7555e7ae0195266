// The page of an avatar: reads what it carries, draws, listens. `window.avatarkit` is for other scripts on the page.

import { Body } from "./body.js";
import { readData } from "./data.js";
import { Live } from "./live.js";
import { answerMessages } from "./messages.js";
import { faceSliders, poseSliders } from "./panel.js";
import { Player } from "./player.js";
import { MODES, Stage } from "./stage.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const SLOW = 24; // frames per second below which the picture gets coarser

function say(text) {
  $("message").textContent = text;
  $("message").hidden = !text;
}

async function start() {
  const data = await readData($("avatar-data"));
  const body = new Body(data);
  const player = new Player(data, body);
  const view = new View(data.camera, data.center);
  const stage = new Stage($("canvas"), view, body, data.arrays);
  const live = new Live(player, () => stage.ask());
  stage.beforeFrame = (seconds) => {
    const talking = live.advance(seconds);
    const [moved, more] = player.advance(seconds);
    if (moved) stage.posed();
    if (moved) showPlaying(player);
    return more || talking;
  };
  new ResizeObserver(() => stage.resize()).observe($("canvas"));
  view.listen($("canvas"));
  const controls = connect(player, stage, view, live);
  measure(stage, player);
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (data.motions.length && !calm && data.autoplay) player.play(data.motions[0].name);
  player.advance(0);
  stage.posed();
  await stage.picture(64, 64); // compiles the shaders and sorts for the first time
  stage.resize();
  $("poster").hidden = true;
  document.body.classList.add("ready");
  stage.ask();
  return { player, stage, view, body, live, ...controls };
}

function connect(player, stage, view, live) {
  const ask = () => stage.ask();
  const showFace = faceSliders($("face"), $("faces"), player, ask);
  const resetPose = poseSliders($("pose"), player, ask);
  const choose = $("motion");
  choose.append(new Option("Still", ""));
  player.motions.forEach(({ name }) => choose.append(new Option(name.replace(/-/g, " "), name)));
  choose.addEventListener("change", () => {
    player.play(choose.value);
    showPlaying(player);
    ask();
  });
  $("play").addEventListener("click", () => {
    if (player.motion === null && player.motions.length) player.play(player.motions[0].name);
    else if (!player.playing && player.motion && player.time >= player.motion.duration) player.play(player.motion.name);
    else player.playing = !player.playing;
    player.dirty = true;
    showPlaying(player);
    ask();
  });
  $("time").addEventListener("input", () => {
    if (!player.motion) return;
    player.playing = false;
    player.seek((Number($("time").value) / 1000) * player.motion.duration);
    ask();
  });
  $("mode").addEventListener("change", () => stage.show($("mode").value));
  $("background").addEventListener("input", () => setBackground(stage, $("background").value));
  $("transparent").addEventListener("change", () => {
    setBackground(stage, $("transparent").checked ? "transparent" : $("background").value);
  });
  $("reset").addEventListener("click", () => {
    view.reset();
    showFace({});
    $("faces").querySelectorAll("button").forEach((b) => b.setAttribute("aria-pressed", "false"));
    resetPose();
  });
  $("shot").addEventListener("click", () => save(stage));
  $("panel-button").addEventListener("click", () => {
    const open = document.body.classList.toggle("panel");
    $("panel-button").setAttribute("aria-expanded", String(open));
  });
  connectTalk(live);
  setBackground(stage, $("background").value);
  showPlaying(player);
  return { showFace, resetPose };
}

function connectTalk(live) {
  const button = $("microphone"), hold = $("hold");
  let source = null, wanted = false;
  const show = () => {
    button.setAttribute("aria-pressed", String(wanted));
    hold.setAttribute("aria-pressed", String(wanted));
  };
  const listen = async (on) => {
    wanted = on;
    show();
    if (!on) {
      if (source) live.end(source);
      source = null;
      return;
    }
    try {
      const opened = await live.microphone();
      if (wanted && source === null) source = opened;
      else live.end(opened); // let go before the browser had asked
      say("");
    } catch (error) {
      wanted = false;
      show();
      say(`The microphone did not start: ${error.message}`);
    }
  };
  button.addEventListener("click", () => listen(!wanted));
  hold.addEventListener("pointerdown", (e) => {
    hold.setPointerCapture(e.pointerId);
    listen(true);
  });
  for (const end of ["pointerup", "pointercancel"]) hold.addEventListener(end, () => listen(false));
  hold.addEventListener("keydown", (e) => [" ", "Enter"].includes(e.key) && !e.repeat && listen(true));
  hold.addEventListener("keyup", (e) => [" ", "Enter"].includes(e.key) && listen(false));
  hold.addEventListener("blur", () => wanted && listen(false));
  const tell = (promise) => promise.then(() => say("")).catch((error) => say(`The avatar cannot say this: ${error.message}.`));
  $("sound").addEventListener("change", () => $("sound").files.length && tell(live.speak($("sound").files[0])));
  $("say").addEventListener("click", () => $("said").value.trim() && tell(live.speak($("said").value)));
  $("quiet").addEventListener("click", () => (listen(false), live.stop()));
  $("mute").addEventListener("change", () => live.mute($("mute").checked));
  live.onlevel = (level) => ($("level").value = level);
  live.onended = () => {
    if (source === null) return;
    [source, wanted] = [null, false]; // the microphone was unplugged
    show();
  };
}

function setBackground(stage, color) {
  stage.background = color;
  stage.canvas.parentElement.classList.toggle("checkered", color === "transparent");
  stage.canvas.parentElement.style.backgroundColor = color === "transparent" ? "" : color;
  stage.ask();
}

function showPlaying(player) {
  $("play").textContent = player.playing ? "Pause" : "Play";
  $("motion").value = player.motion?.name ?? "";
  $("time").disabled = player.motion === null;
  $("time").value = player.motion ? (1000 * player.time) / player.motion.duration : 0;
}

async function save(stage) {
  const ratio = Math.max(1, window.devicePixelRatio || 1);
  const [width, height] = [stage.canvas.clientWidth, stage.canvas.clientHeight].map((v) => Math.round(v * ratio));
  const link = document.createElement("a");
  link.href = await stage.picture(width, height);
  link.download = `${document.title.split(" - ")[0]}.png`;
  link.click();
}

/** Frames per second, once a second; a slow machine gets a coarser picture. */
function measure(stage, player) {
  let before = performance.now();
  setInterval(() => {
    const now = performance.now();
    if (player.playing && stage.frames === 0) return;
    const rate = (stage.frames * 1000) / (now - before);
    [stage.frames, before] = [0, now];
    $("fps").textContent = player.playing ? `${rate.toFixed(rate < 10 ? 1 : 0)} frames per second` : "";
    if (player.playing && rate > 0 && rate < SLOW && stage.ratio > 0.6) {
      stage.ratio = Math.max(0.6, stage.ratio * 0.8);
      stage.resize();
    }
  }, 1000);
}

async function main() {
  if (!document.createElement("canvas").getContext("webgl2")) {
    throw new Error("this browser offers no WebGL 2; the picture above is all that it can show");
  }
  const { player, stage, view, showFace, body, live } = await start();
  window.avatarkit = {
    motions: player.motions.map((m) => m.name),
    visemes: Object.keys(player.data.visemes),
    play: (name) => (player.play(name), stage.ask()),
    pause: () => ((player.playing = false), stage.ask()),
    seek: (time) => (player.seek(time), stage.ask()),
    speak: (what, sound) => live.speak(what, sound),
    listen: async () => void (await live.microphone()),
    hush: () => live.stop(),
    mute: (on = true) => live.mute(Boolean(on)),
    look: (x, y) => live.look(x ?? null, y),
    stand: (pose) => (player.stand(pose), stage.ask()),
    express: (weights) => showFace(weights),
    turn: (yaw, pitch = 0) => (view.reset(), view.turn(yaw, pitch)),
    show: (mode) => MODES.includes(mode) && stage.show(mode),
    background: (color) => setBackground(stage, color),
    picture: async (width, height) => {
      live.advance(performance.now() / 1000);
      if (player.advance(performance.now() / 1000)[0]) stage.posed();
      return stage.picture(width, height);
    },
    vertices: () => Array.from(body.vertices),
    talking: () => ({
      active: live.active, viseme: live.target, level: live.level, weights: Object.fromEntries(live.weights),
      milliseconds: live.milliseconds, seconds: (live.context?.currentTime ?? 0) - live.started,
    }),
    poseMilliseconds: (times) => {
      const before = performance.now();
      for (let i = 0; i < times; i++) body.pose(player.now);
      return (performance.now() - before) / times;
    },
  };
  answerMessages(window.avatarkit);
}

window.avatarkitReady = main().catch((error) => {
  console.error(error);
  say(`The avatar cannot be shown here: ${error.message}`);
  throw error;
});
window.avatarkitReady.catch(() => {});
