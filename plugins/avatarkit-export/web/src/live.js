// The avatar talks in real time: a microphone, sounds, timed visemes and the browser's voices move mouth, head and hands.
// Sound stays in the page.

import { listener } from "./ear.js";
import { spelled } from "./letters.js";

const DELAY = 0.06; // seconds that a sound is played later than it is heard, so that lips are not late
const OPENS = 0.03, CLOSES = 0.055; // seconds: time constants of lips
const VOWELS = new Set(["aa", "E", "ih", "oh", "ou"]);
const TICK = 16; // milliseconds
const PAUSE = 0.4; // seconds without a voice after which hands rest
const BEAT = 0.42, RARELY = 0.5; // seconds of a nod, and at least between two
const WANTED = 0.1; // of full scale: the level of recordings to which the ear is used
const EYES = 22, HEAD = 14; // degrees at the edge of the picture
const IDLE = /^idle/, TALK = /^talk/;

const ease = (now, wanted, step, seconds) => now + (wanted - now) * (1 - Math.exp(-step / seconds));

export class Live {
  constructor(player, changed) {
    Object.assign(this, { player, changed });
    const number = new Map(player.data.expressions.map((name, e) => [name, e]));
    this.shapes = new Map(
      Object.entries(player.data.visemes).map(([name, actions]) => [
        name, Object.entries(actions).filter(([action]) => number.has(action)).map(([action, w]) => [number.get(action), action, w]),
      ]),
    );
    this.number = number;
    this.groups = new Map(player.data.groups.map((g) => [g.name, g]));
    this.weights = new Map([...this.shapes.keys()].map((name) => [name, 0]));
    this.target = "sil"; // the viseme that is heard
    this.shares = null; // viseme -> probability, of the last moment that was heard
    this.level = this.loudness = this.average = 0;
    this.script = []; // timed visemes, and the clock that they follow
    this.clock = null;
    this.sources = new Set();
    this.lastVoice = -Infinity;
    this.beats = [];
    this.gaze = { x: 0, y: 0, wanted: null };
    this.now = 0;
    this.muted = this.moved = false;
    this.milliseconds = 0; // of the main thread for the last frame
    this.started = 0; // of the last sound, by the clock of `context`
    this.timer = null;
    this.onlevel = () => {};
    this.onended = () => {};
  }

  get active() {
    return this.sources.size > 0;
  }

  /** The sound of this page: made at the visitor's first wish, as browsers demand. */
  async open() {
    this.opening ??= (async () => {
      const context = new AudioContext({ latencyHint: "interactive" });
      const ear = await listener(context, (shares, level) => this.hear(shares, level));
      const delay = new DelayNode(context, { delayTime: DELAY }), volume = new GainNode(context, { gain: this.muted ? 0 : 1 });
      delay.connect(volume).connect(context.destination);
      Object.assign(this, { context, ear, delay, volume });
    })();
    await this.opening;
    await this.context.resume();
  }

  hear(shares, level) {
    if (this.clock !== null || !this.active) return; // timed visemes know better
    [this.shares, this.level] = [shares, level];
    this.target = shares === null ? "sil" : Object.keys(shares).reduce((a, b) => (shares[b] > shares[a] ? b : a));
    if (this.target !== "sil") this.lastVoice = performance.now() / 1000;
    this.wake();
  }

  begin(source) {
    if (!this.active) {
      const { player } = this, idle = player.motions.find((m) => IDLE.test(m.name));
      this.borrowed = player.motion === null && idle !== undefined;
      if (this.borrowed) player.play(idle.name);
      player.armsStill = this.borrowed; // hands rest where the photo has them
    }
    this.sources.add(source);
    this.wake();
    return source;
  }

  end(source) {
    if (!this.sources.delete(source)) return;
    source.finish?.();
    if (this.active) return;
    [this.target, this.shares, this.level, this.script, this.clock] = ["sil", null, 0, [], null];
    if (this.borrowed && IDLE.test(this.player.motion?.name)) this.player.play("");
    this.wake();
    this.onended();
  }

  /** Ends all that is said and heard. */
  stop() {
    for (const source of [...this.sources]) this.end(source);
  }

  mute(on) {
    this.muted = on;
    if (this.volume) this.volume.gain.value = on ? 0 : 1;
    for (const source of this.sources) source.track?.(!on);
  }

  /** Follows a stream of sound until it is stopped; returns what `end` takes. A microphone is not played back. */
  async listen(stream, aloud = false) {
    await this.open();
    const node = this.context.createMediaStreamSource(stream);
    node.connect(this.ear);
    if (aloud) node.connect(this.delay);
    const tracks = stream.getAudioTracks();
    const track = (on) => tracks.forEach((t) => (t.enabled = on));
    const source = { track, finish: () => (node.disconnect(), aloud || tracks.forEach((t) => t.stop())) };
    track(!this.muted);
    tracks.forEach((t) => t.addEventListener("ended", () => this.end(source)));
    return this.begin(source);
  }

  /** Asks for the microphone; throws what the browser says. */
  async microphone() {
    return this.listen(await navigator.mediaDevices.getUserMedia({ audio: true }));
  }

  /**
   * Talks, and resolves when that is over.
   *
   * what: a sound (AudioBuffer, ArrayBuffer or Blob of a sound file, MediaStream), visemes [{ name, start, end, strength }] in
   * seconds, or a text for one of the browser's own voices. sound: with visemes, the sound that they belong to.
   */
  async speak(what, sound = null) {
    if (typeof what === "string") return this.say(what);
    if (what instanceof MediaStream) return this.listen(what, true).then((source) => this.over(source));
    if (Array.isArray(what)) return this.act(checked(what, this.shapes), sound);
    return this.play(await this.decoded(what), true);
  }

  over(source) {
    const { finish } = source;
    return new Promise((done) => (source.finish = () => (finish?.(), done())));
  }

  async decoded(sound) {
    await this.open();
    if (sound instanceof AudioBuffer) return sound;
    const bytes = sound instanceof Blob ? await sound.arrayBuffer() : sound.slice(0);
    return this.context.decodeAudioData(bytes).catch(() => {
      throw new Error("this is no sound that the browser can read");
    });
  }

  play(buffer, heard) {
    const node = new AudioBufferSourceNode(this.context, { buffer });
    if (heard) node.connect(new GainNode(this.context, { gain: levelling(buffer) })).connect(this.ear);
    node.connect(this.delay);
    const source = this.begin({ finish: () => node.disconnect() }), over = this.over(source);
    node.onended = () => this.end(source);
    this.started = this.context.currentTime;
    node.start();
    return over;
  }

  async act(visemes, sound) {
    const buffer = sound === null ? null : await this.decoded(sound);
    const began = performance.now() / 1000 + (buffer ? DELAY : 0);
    [this.script, this.clock] = [visemes, () => performance.now() / 1000 - began];
    if (buffer) return this.play(buffer, false);
    const source = this.begin({}), over = this.over(source);
    setTimeout(() => this.end(source), 1000 * Math.max(0, ...visemes.map((v) => v.end)));
    return over;
  }

  /** By a voice that is on the visitor's machine: others would send the text away. */
  async say(text) {
    const voices = await localVoices();
    if (!voices.length) throw new Error("this browser has no voice of its own; play a sound file instead");
    const utterance = new SpeechSynthesisUtterance(text);
    utterance.voice = voices.find((v) => v.default) ?? voices.find((v) => v.lang.startsWith("en")) ?? voices[0];
    utterance.volume = this.muted ? 0 : 1;
    const source = this.begin({ finish: () => speechSynthesis.cancel() }), over = this.over(source);
    const from = (words) => {
      const began = performance.now() / 1000;
      [this.script, this.clock] = [spelled(words), () => performance.now() / 1000 - began];
      this.wake();
    };
    utterance.onstart = () => from(text);
    utterance.onboundary = (e) => from(text.slice(e.charIndex)); // each word puts the rest right
    utterance.onend = utterance.onerror = () => this.end(source);
    speechSynthesis.speak(utterance);
    return over;
  }

  /** Looks at a point of the picture, -1 to 1 from left to right and from top to bottom; null looks where the motion does. */
  look(x, y) {
    this.gaze.wanted = x === null ? null : { x: Math.max(-1, Math.min(1, x)), y: Math.max(-1, Math.min(1, y ?? 0)) };
    this.wake();
  }

  /** Moves on by a clock of its own, too: where pictures come slowly, shapes do not. */
  wake() {
    this.timer ??= setInterval(() => {
      if (this.advance(performance.now() / 1000)) return;
      clearInterval(this.timer);
      this.timer = null;
    }, TICK);
    this.changed();
  }

  /** Moves face, head and hands for the clock's `seconds`; says whether it will go on. */
  advance(seconds) {
    const before = performance.now();
    const step = Math.max(0, Math.min(0.1, seconds - this.now));
    this.now = seconds;
    const strength = this.follow();
    const moving = this.lips(step, strength) | this.body(step) | this.eyes(step);
    if (moving || this.active || this.moved) {
      this.player.dirty = true;
      this.changed();
    }
    this.moved = moving; // the step that stops moving is drawn, too
    this.milliseconds = performance.now() - before + (this.ear?.milliseconds ?? 0);
    this.onlevel(this.level);
    return Boolean(moving) || this.active;
  }

  /** What timed visemes say now; how strongly. */
  follow() {
    if (this.clock === null) return 1;
    const t = this.clock(), said = this.script.find((v) => v.start <= t && t < v.end);
    this.target = said?.name ?? "sil";
    this.level = said ? (VOWELS.has(said.name) ? 0.6 : 0.4) : 0;
    if (said && said.name !== "sil") this.lastVoice = performance.now() / 1000;
    return said?.strength ?? 1;
  }

  lips(step, strength) {
    this.loudness = ease(this.loudness, this.level, step, 0.05);
    const { voice } = this.player;
    voice.fill(0);
    let moving = false;
    for (const [name, weight] of this.weights) {
      const wanted = this.clock === null && this.shares ? this.shares[name] : name === this.target ? strength : 0;
      const now = ease(weight, wanted, step, wanted > weight ? OPENS : CLOSES);
      this.weights.set(name, now < 1e-3 && wanted === 0 ? 0 : now);
      moving ||= Math.abs(now - wanted) > 1e-3;
      const jaw = VOWELS.has(name) && this.clock === null ? 0.6 + 0.5 * this.loudness : 1;
      for (const [e, action, w] of this.shapes.get(name)) voice[e] += now * w * (action === "jawOpen" ? jaw : 1);
    }
    return moving;
  }

  /** Nods and raised brows where the voice swells; hands talk while it lasts. */
  body(step) {
    const { player, now } = this, talks = performance.now() / 1000 - this.lastVoice < PAUSE && this.active;
    this.average = ease(this.average, this.level, step, 0.4);
    if (talks && this.level > this.average + 0.08 && now - (this.beats.at(-1)?.at ?? -9) > RARELY) {
      this.beats = [...this.beats.slice(-3), { at: now, size: Math.min(1, 0.5 + 2 * (this.level - this.average)) }];
    }
    let beat = 0;
    for (const { at, size } of this.beats) if (now - at < BEAT) beat += size * Math.sin((Math.PI * (now - at)) / BEAT) ** 2;
    this.turn("head", [3.5 * beat, 0, 0]);
    this.turn("left_elbow", [-4 * beat, 0, 0]);
    this.turn("right_elbow", [-5 * beat, 0, 0]);
    this.add("browInnerUp", 0.3 * beat);
    this.add("browOuterUpLeft", 0.2 * beat);
    this.add("browOuterUpRight", 0.2 * beat);
    this.gesture(talks, step);
    return beat > 0 || player.layer.weight > 0;
  }

  gesture(talks, step) {
    const { layer, motions } = this.player;
    if (talks && layer.weight === 0) {
      const known = motions.filter((m) => TALK.test(m.name));
      const next = known[(known.indexOf(layer.motion) + 1) % Math.max(1, known.length)];
      Object.assign(layer, { motion: next ?? null, time: 0 });
    }
    const weight = layer.motion === null ? 0 : ease(layer.weight, talks ? 1 : 0, step, talks ? 0.25 : 0.45);
    layer.weight = weight < 5e-3 && !talks ? 0 : weight;
    layer.time += step;
  }

  eyes(step) {
    const { gaze } = this, wanted = gaze.wanted ?? { x: 0, y: 0 };
    const away = Math.hypot(wanted.x - gaze.x, wanted.y - gaze.y);
    [gaze.x, gaze.y] = away < 1e-3 ? [wanted.x, wanted.y] : [ease(gaze.x, wanted.x, step, 0.08), ease(gaze.y, wanted.y, step, 0.08)];
    for (const side of ["left", "right"]) this.turn(`${side}_eye_smplhf`, [EYES * gaze.y, EYES * gaze.x, 0]);
    this.turn("neck", [HEAD * gaze.y, HEAD * gaze.x, 0]);
    for (const side of ["Left", "Right"]) {
      this.add(`eyeBlink${side}`, 0.3 * Math.max(0, gaze.y));
      this.add(`eyeWide${side}`, 0.3 * Math.max(0, -gaze.y));
    }
    return away >= 1e-3;
  }

  turn(name, degrees) {
    const group = this.groups.get(name), { speech } = this.player;
    if (!group) return;
    if (degrees.some((d) => Math.abs(d) > 1e-3)) speech.set(group, degrees);
    else speech.delete(group);
  }

  add(name, weight) {
    if (this.number.has(name)) this.player.voice[this.number.get(name)] += weight;
  }
}

function checked(visemes, shapes) {
  for (const { name, start, end, strength = 1 } of visemes) {
    if (!shapes.has(name)) throw new Error(`there is no viseme ${JSON.stringify(name)}; there are ${[...shapes.keys()].join(", ")}`);
    if (!(start >= 0 && end > start && end < 36e3)) throw new Error("visemes need start and end in seconds");
    if (!(strength >= 0 && strength <= 1)) throw new Error("the strength of a viseme is 0 to 1");
  }
  return visemes;
}

/** What brings the loud parts of a recording to the level that the ear is used to. */
function levelling(buffer) {
  const samples = buffer.getChannelData(0), size = 4096;
  let loudest = 0;
  for (let at = 0; at < samples.length; at += size) {
    let sum = 0;
    for (let k = at; k < Math.min(at + size, samples.length); k++) sum += samples[k] * samples[k];
    loudest = Math.max(loudest, Math.sqrt(sum / size));
  }
  return loudest > 1e-4 ? Math.min(20, WANTED / loudest) : 1;
}

async function localVoices() {
  const known = () => window.speechSynthesis?.getVoices().filter((v) => v.localService) ?? [];
  if (!known().length && window.speechSynthesis) {
    await new Promise((done) => {
      speechSynthesis.addEventListener("voiceschanged", done, { once: true });
      setTimeout(done, 1000);
    });
  }
  return known();
}
