// What the avatar does: the pose it starts from, a motion over it, the visitor's sliders, and what it says.

import { multiplyQuaternions, quaternionOf } from "./body.js";

const FADE = 0.35; // seconds from one motion to the next
const ANGLE = Math.PI / 32767;
const ARM = /(shoulder|elbow|wrist|twist|thumb|index|middle|ring|pinky|metacarpal)/;

export class Player {
  constructor(data, body) {
    Object.assign(this, { data, body });
    this.J = data.parents.length;
    this.E = data.expressions.length;
    this.motions = data.motions.map((head, n) => readMotion(head, n, data.arrays, this.J, this.E));
    this.still = frameOf(data.pose, this.J, this.E);
    this.now = copyFrame(this.still);
    this.from = null;
    this.motion = null;
    this.playing = false;
    this.time = 0;
    this.extra = new Float32Array(this.E); // the visitor's, added
    this.voice = new Float32Array(this.E); // of what it says, added
    this.turns = new Map(); // pose group -> degrees x, y, z, the visitor's
    this.speech = new Map(); // the same, of what it says
    this.armsStill = false; // whether the motion leaves arms as in the photo
    this.arms = data.groups.filter((g) => ARM.test(g.name)).flatMap((g) => g.joints);
    this.layer = { motion: null, time: 0, weight: 0 }; // gestures over the motion, without their face
    this.last = null;
    this.dirty = true;
  }

  /** A motion by name; null for the still pose. */
  play(name) {
    this.from = copyFrame(this.now);
    this.fade = 0;
    this.armsStill = false;
    this.motion = this.motions.find((m) => m.name === name) ?? null;
    this.time = 0;
    this.playing = this.motion !== null;
    this.dirty = true;
  }

  /** Seconds into the motion, at once. */
  seek(time) {
    this.from = null;
    this.time = time;
    this.dirty = true;
  }

  /** Another pose to stand in: { root, translation, joints, expression } as BodyParams, flat. */
  stand(pose) {
    this.still = frameOf(pose, this.J, this.E);
    this.motion = this.from = null;
    this.playing = false;
    this.dirty = true;
  }

  /** Poses the body for the clock's `seconds`; says [whether it moved, whether it will go on]. */
  advance(seconds) {
    const step = this.last === null ? 0 : Math.min(0.1, seconds - this.last);
    const moving = this.playing || this.from !== null;
    this.last = moving ? seconds : null;
    if (!moving && !this.dirty) return [false, false];
    this.dirty = false;
    if (this.playing) this.time = this.wrapped(this.time + step);
    const wanted = this.motion ? sample(this.motion, this.time, this.still) : copyFrame(this.still);
    if (this.armsStill) {
      for (const j of this.arms) for (let k = 4 * j; k < 4 * j + 4; k++) wanted.quaternions[k] = this.still.quaternions[k];
    }
    if (this.from !== null) {
      this.fade += step;
      const t = Math.min(1, this.fade / FADE);
      if (t >= 1) this.from = null;
      else mix(wanted, this.from, wanted, t * t * (3 - 2 * t));
    }
    this.now = wanted;
    if (this.layer.weight > 0) this.gesture(wanted);
    this.body.pose(this.withExtras(wanted));
    return [true, this.playing || this.from !== null];
  }

  gesture(frame) {
    const { motion, time, weight } = this.layer;
    const face = frame.expression.slice();
    mix(frame, frame, sample(motion, time % motion.duration, this.still), weight);
    frame.expression.set(face);
  }

  wrapped(time) {
    const { duration, loop } = this.motion;
    if (time < duration) return time;
    if (loop) return time % duration;
    this.playing = false;
    return duration;
  }

  withExtras(frame) {
    const out = copyFrame(frame);
    for (let e = 0; e < this.E; e++) {
      out.expression[e] = Math.max(0, Math.min(1, out.expression[e] + this.extra[e] + this.voice[e]));
    }
    const turn = new Float32Array(4);
    for (const [group, degrees] of [...this.turns, ...this.speech]) {
      group.joints.forEach((j, k) => {
        quaternionOf(degrees.map((d) => (d * Math.PI * group.share[k]) / 180), 0, turn, 0);
        multiplyQuaternions(turn, 0, out.quaternions, 4 * j, out.quaternions, 4 * j);
      });
    }
    return out;
  }
}

/** Row 0 of the joints is the root's turn. */
function frameOf({ root, translation, joints, expression }, J, E) {
  const quaternions = new Float32Array(4 * J);
  for (let j = 0; j < J; j++) quaternionOf(j === 0 ? root : joints, j === 0 ? 0 : 3 * j, quaternions, 4 * j);
  return { quaternions, translation: Float32Array.from(translation), expression: Float32Array.from(expression.slice(0, E)) };
}

function copyFrame({ quaternions, translation, expression }) {
  return { quaternions: quaternions.slice(), translation: translation.slice(), expression: expression.slice() };
}

function readMotion(head, number, arrays, J, E) {
  const get = (key) => arrays[`motion${number}_${key}`];
  const joints = get("joints"), turns = get("turns"), faces = get("faces"), weights = get("expression");
  const frames = [];
  for (let t = 0; t < head.frames; t++) {
    const quaternions = new Float32Array(4 * J);
    for (let j = 0; j < J; j++) quaternions[4 * j + 3] = 1;
    joints.forEach((j, k) => {
      const at = 3 * (t * joints.length + k);
      quaternionOf([turns[at] * ANGLE, turns[at + 1] * ANGLE, turns[at + 2] * ANGLE], 0, quaternions, 4 * j);
    });
    const expression = new Float32Array(E);
    faces.forEach((e, k) => (expression[e] = weights[t * faces.length + k] / 255));
    frames.push({ quaternions, translation: get("translation").subarray(3 * t, 3 * t + 3), expression });
  }
  const spans = head.loop ? head.frames : head.frames - 1;
  return { ...head, frames, duration: Math.max(spans, 1) / head.fps };
}

function sample(motion, time, like) {
  const at = time * motion.fps;
  const i = Math.min(Math.floor(at), motion.frames.length - 1);
  const next = motion.loop ? (i + 1) % motion.frames.length : Math.min(i + 1, motion.frames.length - 1);
  const out = copyFrame(like);
  mix(out, motion.frames[i], motion.frames[next], Math.min(1, at - i));
  return out;
}

/** out = a (1 - t) + b t; rotations the short way round. */
function mix(out, a, b, t) {
  for (let k = 0; k < out.translation.length; k++) out.translation[k] = a.translation[k] * (1 - t) + b.translation[k] * t;
  for (let k = 0; k < out.expression.length; k++) out.expression[k] = a.expression[k] * (1 - t) + b.expression[k] * t;
  const [qa, qb, q] = [a.quaternions, b.quaternions, out.quaternions];
  for (let k = 0; k < q.length; k += 4) {
    const dot = qa[k] * qb[k] + qa[k + 1] * qb[k + 1] + qa[k + 2] * qb[k + 2] + qa[k + 3] * qb[k + 3];
    const s = dot < 0 ? -t : t;
    const [x, y, z, w] = [0, 1, 2, 3].map((n) => qa[k + n] * (1 - t) + qb[k + n] * s);
    const norm = Math.hypot(x, y, z, w) || 1;
    q[k] = x / norm; q[k + 1] = y / norm; q[k + 2] = z / norm; q[k + 3] = w / norm;
  }
}
