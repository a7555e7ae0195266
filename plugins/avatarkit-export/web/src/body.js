// The body on the CPU: joints, expressions and blended transforms of the mesh's vertices (paper, eq. 1, 2 and 5).
// A pose is { root, translation, joints, expression }: axis-angles, metres, axis-angles in rest-space axes, 0 to 1.

/** Unit quaternion x y z w of an axis-angle at a[i..i+2]. */
export function quaternionOf(a, i, out, o) {
  const angle = Math.hypot(a[i], a[i + 1], a[i + 2]);
  const s = angle > 1e-8 ? Math.sin(angle / 2) / angle : 0.5;
  out[o] = a[i] * s;
  out[o + 1] = a[i + 1] * s;
  out[o + 2] = a[i + 2] * s;
  out[o + 3] = Math.cos(angle / 2);
}

/** out = a b. */
export function multiplyQuaternions(a, ia, b, ib, out, o) {
  const [ax, ay, az, aw] = [a[ia], a[ia + 1], a[ia + 2], a[ia + 3]];
  const [bx, by, bz, bw] = [b[ib], b[ib + 1], b[ib + 2], b[ib + 3]];
  out[o] = aw * bx + ax * bw + ay * bz - az * by;
  out[o + 1] = aw * by - ax * bz + ay * bw + az * bx;
  out[o + 2] = aw * bz + ax * by - ay * bx + az * bw;
  out[o + 3] = aw * bw - ax * bx - ay * by - az * bz;
}

/** Unit dual quaternion of the rigid transform with rows m[i..i+11]. */
export function dualQuaternionOf(m, i, out, o) {
  const [xx, yy, zz] = [m[i], m[i + 5], m[i + 10]];
  // of the four ways to read a quaternion off a matrix, the one that divides by the largest number
  const squares = [1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz, 1 + xx + yy + zz];
  const k = squares.indexOf(Math.max(...squares));
  const [a, b, c] = [m[i + 9] - m[i + 6], m[i + 2] - m[i + 8], m[i + 4] - m[i + 1]];
  const [d, e, f] = [m[i + 1] + m[i + 4], m[i + 2] + m[i + 8], m[i + 6] + m[i + 9]];
  const s = squares[k];
  const raw = [[s, d, e, a], [d, s, f, b], [e, f, s, c], [a, b, c, s]][k];
  const norm = Math.hypot(...raw);
  for (let r = 0; r < 4; r++) out[o + r] = raw[r] / norm;
  const half = [m[i + 3] / 2, m[i + 7] / 2, m[i + 11] / 2, 0];
  multiplyQuaternions(half, 0, out, o, out, o + 4);
}

export class Body {
  constructor({ arrays, parents, expressions, influences }) {
    Object.assign(this, { arrays, parents, influences });
    this.J = parents.length;
    this.E = expressions.length;
    this.V = arrays.template.length / 3;
    // 16 floats per vertex: three rows of the blended transform, then the expressed rest position and the stretch. Behind them 8
    // per joint: a unit dual quaternion, real part first, each x y z w.
    this.surface = new Float32Array(Math.ceil((this.V * 4 + this.J * 2) / 1024) * 1024 * 4);
    this.vertices = new Float32Array(this.V * 3);
    this.weights = normalized(arrays.skin_weights, influences);
    this.matrices = new Float64Array(this.J * 12);
    this.expressed = new Float32Array(arrays.template);
    this.restMetric = this.metric(sum(arrays.template, arrays.offsets));
    this.faceCount = new Float32Array(this.V);
    for (const v of arrays.faces) this.faceCount[v] += 1;
    this.stretches = new Float32Array(this.V);
  }

  /** Fills `surface` and `vertices` for quaternions (J + 0 is the root's), a translation and expression weights. */
  pose({ quaternions, translation, expression }) {
    this.express(expression);
    this.move(quaternions, translation);
    for (let j = 0; j < this.J; j++) dualQuaternionOf(this.matrices, 12 * j, this.surface, 16 * this.V + 8 * j);
    this.blend();
    this.stretch();
  }

  express(weights) {
    const { template, expression_start, expression_vertex, expression_delta, expression_step } = this.arrays;
    this.expressed.set(template);
    for (let e = 0; e < this.E; e++) {
      const w = weights[e] * expression_step[e];
      if (Math.abs(weights[e]) < 1e-4) continue;
      for (let k = expression_start[e]; k < expression_start[e + 1]; k++) {
        const v = expression_vertex[k] * 3;
        this.expressed[v] += w * expression_delta[3 * k];
        this.expressed[v + 1] += w * expression_delta[3 * k + 1];
        this.expressed[v + 2] += w * expression_delta[3 * k + 2];
      }
    }
  }

  /** Rest space to world, three rows per joint; parents come before children. */
  move(q, translation) {
    const { joint_positions: at } = this.arrays;
    const M = this.matrices;
    const L = new Float64Array(12);
    for (let j = 0; j < this.J; j++) {
      const [x, y, z, w] = [q[4 * j], q[4 * j + 1], q[4 * j + 2], q[4 * j + 3]];
      L[0] = 1 - 2 * (y * y + z * z); L[1] = 2 * (x * y - z * w); L[2] = 2 * (x * z + y * w);
      L[4] = 2 * (x * y + z * w); L[5] = 1 - 2 * (x * x + z * z); L[6] = 2 * (y * z - x * w);
      L[8] = 2 * (x * z - y * w); L[9] = 2 * (y * z + x * w); L[10] = 1 - 2 * (x * x + y * y);
      for (let r = 0; r < 3; r++) {
        const target = j === 0 ? translation[r] : at[3 * j + r];
        L[4 * r + 3] = target - L[4 * r] * at[3 * j] - L[4 * r + 1] * at[3 * j + 1] - L[4 * r + 2] * at[3 * j + 2];
      }
      const p = this.parents[j] * 12;
      if (p < 0) {
        M.set(L, 12 * j);
        continue;
      }
      for (let r = 0; r < 3; r++) {
        const [a, b, c, d] = [M[p + 4 * r], M[p + 4 * r + 1], M[p + 4 * r + 2], M[p + 4 * r + 3]];
        for (let k = 0; k < 4; k++) M[12 * j + 4 * r + k] = a * L[k] + b * L[4 + k] + c * L[8 + k] + (k === 3 ? d : 0);
      }
    }
  }

  blend() {
    const { skin_joints, offsets } = this.arrays;
    const { matrices: M, weights, influences: K, surface: S, vertices: X, expressed: T } = this;
    for (let v = 0; v < this.V; v++) {
      let a0 = 0, a1 = 0, a2 = 0, a3 = 0, a4 = 0, a5 = 0, a6 = 0, a7 = 0, a8 = 0, a9 = 0, a10 = 0, a11 = 0;
      for (let k = v * K; k < (v + 1) * K; k++) {
        const w = weights[k];
        if (w === 0) continue;
        const m = skin_joints[k] * 12;
        a0 += w * M[m]; a1 += w * M[m + 1]; a2 += w * M[m + 2]; a3 += w * M[m + 3];
        a4 += w * M[m + 4]; a5 += w * M[m + 5]; a6 += w * M[m + 6]; a7 += w * M[m + 7];
        a8 += w * M[m + 8]; a9 += w * M[m + 9]; a10 += w * M[m + 10]; a11 += w * M[m + 11];
      }
      const o = v * 16, t = v * 3;
      S[o] = a0; S[o + 1] = a1; S[o + 2] = a2; S[o + 3] = a3;
      S[o + 4] = a4; S[o + 5] = a5; S[o + 6] = a6; S[o + 7] = a7;
      S[o + 8] = a8; S[o + 9] = a9; S[o + 10] = a10; S[o + 11] = a11;
      S[o + 12] = T[t]; S[o + 13] = T[t + 1]; S[o + 14] = T[t + 2];
      const x = T[t] + offsets[t], y = T[t + 1] + offsets[t + 1], z = T[t + 2] + offsets[t + 2];
      X[t] = a0 * x + a1 * y + a2 * z + a3;
      X[t + 1] = a4 * x + a5 * y + a6 * z + a7;
      X[t + 2] = a8 * x + a9 * y + a10 * z + a11;
    }
  }

  /** How much longer the surface around each vertex is than at rest where it is stretched most, 1 to 5: Gaussians grow with it. */
  stretch() {
    const { faces } = this.arrays, R = this.restMetric;
    const total = this.stretches.fill(0);
    const M = this.metric(this.vertices);
    for (let i = 0; i < M.length; i += 3) {
      // squares of principal stretches are the eigenvalues of rest^-1 now
      const determinant = Math.max(R[i] * R[i + 2] - R[i + 1] * R[i + 1], 1e-24);
      const half = (0.5 * (R[i + 2] * M[i] - 2 * R[i + 1] * M[i + 1] + R[i] * M[i + 2])) / determinant;
      const product = Math.max(0, M[i] * M[i + 2] - M[i + 1] * M[i + 1]) / determinant;
      const square = half + Math.sqrt(Math.max(0, half * half - product));
      const longest = Math.sqrt(Math.min(25, Math.max(1, square)));
      total[faces[i]] += longest;
      total[faces[i + 1]] += longest;
      total[faces[i + 2]] += longest;
    }
    for (let v = 0; v < this.V; v++) this.surface[v * 16 + 15] = total[v] / Math.max(1, this.faceCount[v]);
  }

  /** Products of two edges of each triangle: first with first, first with second, second with second. */
  metric(X) {
    const { faces } = this.arrays;
    const out = new Float64Array(faces.length);
    for (let i = 0; i < out.length; i += 3) {
      const a = faces[i] * 3, b = faces[i + 1] * 3, c = faces[i + 2] * 3;
      const ux = X[b] - X[a], uy = X[b + 1] - X[a + 1], uz = X[b + 2] - X[a + 2];
      const vx = X[c] - X[a], vy = X[c + 1] - X[a + 1], vz = X[c + 2] - X[a + 2];
      out[i] = ux * ux + uy * uy + uz * uz;
      out[i + 1] = ux * vx + uy * vy + uz * vz;
      out[i + 2] = vx * vx + vy * vy + vz * vz;
    }
    return out;
  }
}

function sum(a, b) {
  return a.map((x, i) => x + b[i]);
}

function normalized(raw, K) {
  const out = new Float32Array(raw.length);
  for (let v = 0; v < raw.length; v += K) {
    let total = 0;
    for (let k = 0; k < K; k++) total += raw[v + k];
    for (let k = 0; k < K; k++) out[v + k] = raw[v + k] / (total || 1);
  }
  return out;
}
