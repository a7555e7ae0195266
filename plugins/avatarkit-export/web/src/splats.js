// The avatar's Gaussians on the GPU (paper, eq. 3 and 4): each reads the transforms and the expressed positions of its
// triangle's corners, blends them by its barycentric weights, and adds its own offset in rest space. Skinning, blend shapes
// and stretch are therefore the avatar's own, not an approximation with bones of its own. What grows outside the surface is moved
// by a rigid blend of four joints instead of its triangle's transform. Ellipsoids turn by the rotation in that transform, and
// spherical harmonics are looked up in the direction that the eye has at rest. Spark sorts and draws.

import { SplatGenerator, dyno } from "@sparkjsdev/spark";
import * as THREE from "three";

const WIDTH = 1024; // texels per row of all our textures

export class Splats {
  constructor(body, arrays) {
    this.count = arrays.splat_opacity.length;
    const kind = kindOf(arrays, this.count);
    this.eye = dyno.dynoVec3(new THREE.Vector3());
    this.seesEye = kind.coefficients > 0;
    this.surface = texture(body.surface, THREE.RGBAFormat, THREE.FloatType, "RGBA32F");
    const splats = texture(packed(arrays, this.count, kind), THREE.RGBAIntegerFormat, THREE.UnsignedIntType, "RGBA32UI");
    this.object = new SplatGenerator({
      numSplats: this.count,
      generator: generator(
        { count: this.count, seeds: this.count - arrays.seed_joints.length / 4, joints: body.V * 4, ...kind },
        dyno.dynoSampler2D(this.surface),
        dyno.dynoUsampler2D(splats),
        this.eye,
      ),
    });
  }

  /** Colors that depend on the direction of view follow the camera. */
  look(camera) {
    const position = new THREE.Vector3().setFromMatrixPosition(camera.matrix);
    if (!this.seesEye || this.eye.value.equals(position)) return;
    this.eye.value.copy(position);
    this.object.updateVersion();
  }

  /** After `Body.pose`. */
  update() {
    this.surface.needsUpdate = true;
    this.object.updateVersion();
  }
}

/** What the avatar's Gaussians have, and how many texels each takes. */
function kindOf(arrays, count) {
  const anisotropic = arrays.splat_rotation !== undefined;
  const coefficients = (arrays.splat_sh?.length ?? 0) / count / 3;
  return { anisotropic, coefficients, texels: 3 + anisotropic + Math.ceil((coefficients * 3) / 8) };
}

/**
 * u32 of each Gaussian, four a texel: corners (2), weights, color; offset and opacity in half floats (2), scales (2); joints, their
 * weights; then in half floats the rotation of ellipsoids (2, and two unused), and the spherical harmonics.
 */
function packed(arrays, count, { anisotropic, coefficients, texels }) {
  const { splat_corners: corners, splat_weights: weights, splat_offset: offset } = arrays;
  const { splat_opacity: opacity, splat_scale: scale, splat_color: color } = arrays;
  const { seed_joints: joints, seed_weights: shares } = arrays;
  const stride = 4 * texels;
  const out = new Uint32Array(Math.ceil((count * texels) / WIDTH) * WIDTH * 4);
  for (let k = 0, o = stride * (count - joints.length / 4) + 8; k < joints.length; k += 4, o += stride) {
    out[o] = joints[k] | (joints[k + 1] << 16);
    out[o + 1] = joints[k + 2] | (joints[k + 3] << 16);
    out[o + 2] = shares[k] | (shares[k + 1] << 16);
    out[o + 3] = shares[k + 2] | (shares[k + 3] << 16);
  }
  for (let i = 0; i < count; i++) {
    const o = stride * i;
    out[o] = corners[i] | (corners[count + i] << 16);
    out[o + 1] = corners[2 * count + i];
    out[o + 2] = weights[i] | (weights[count + i] << 16);
    out[o + 3] = color[i] | (color[count + i] << 8) | (color[2 * count + i] << 16);
    out[o + 4] = offset[i] | (offset[count + i] << 16);
    out[o + 5] = offset[2 * count + i] | (opacity[i] << 16);
    out[o + 6] = scale[i];
    if (anisotropic) {
      const turn = arrays.splat_rotation;
      out[o + 6] |= scale[count + i] << 16;
      out[o + 7] = scale[2 * count + i];
      out[o + 12] = turn[i] | (turn[count + i] << 16);
      out[o + 13] = turn[2 * count + i] | (turn[3 * count + i] << 16);
    }
    for (let k = 0, first = o + 12 + 4 * anisotropic; k < 3 * coefficients; k++) {
      out[first + (k >> 1)] |= arrays.splat_sh[k * count + i] << (16 * (k & 1));
    }
  }
  return out;
}

function texture(data, format, type, internalFormat) {
  const made = new THREE.DataTexture(data, WIDTH, data.length / 4 / WIDTH, format, type);
  made.internalFormat = internalFormat;
  made.needsUpdate = true;
  return made;
}

const GLSL = `
  vec4 avatarTexel(sampler2D surface, uint i) {
    return texelFetch(surface, ivec2(i & 1023u, i >> 10), 0);
  }
  vec3 avatarTurned(vec4 q, vec3 v) {
    return v + 2.0 * cross(q.xyz, cross(q.xyz, v) + q.w * v);
  }
  vec4 avatarProduct(vec4 a, vec4 b) {
    return vec4(a.w * b.xyz + b.w * a.xyz + cross(a.xyz, b.xyz), a.w * b.w - dot(a.xyz, b.xyz));
  }
  // The rotation in three rows of a transform: its first two columns made orthonormal.
  vec4 avatarRotation(vec4 rows[4]) {
    vec3 x = normalize(vec3(rows[0].x, rows[1].x, rows[2].x));
    vec3 y = vec3(rows[0].y, rows[1].y, rows[2].y);
    y = normalize(y - dot(x, y) * x);
    vec3 z = cross(x, y);
    vec4 squares = 1.0 + vec4(x.x - y.y - z.z, y.y - x.x - z.z, z.z - x.x - y.y, x.x + y.y + z.z);
    vec3 odd = vec3(y.z - z.y, z.x - x.z, x.y - y.x);
    vec3 even = vec3(x.y + y.x, y.z + z.y, z.x + x.z); // xy, yz, zx
    float most = max(max(squares.x, squares.y), max(squares.z, squares.w));
    if (most == squares.w) return normalize(vec4(odd, squares.w));
    if (most == squares.x) return normalize(vec4(squares.x, even.x, even.z, odd.x));
    if (most == squares.y) return normalize(vec4(even.x, squares.y, even.y, odd.y));
    return normalize(vec4(even.z, even.y, squares.z, odd.z));
  }
  vec3 avatarCoefficient(usampler2D splats, uint first, int k) {
    vec3 c;
    for (int channel = 0; channel < 3; channel++) {
      uint at = uint(3 * k + channel);
      uint texel = first + at / 8u;
      uvec4 four = texelFetch(splats, ivec2(texel & 1023u, texel >> 10), 0);
      vec2 two = unpackHalf2x16(four[int((at >> 1) & 3u)]);
      c[channel] = (at & 1u) == 0u ? two.x : two.y;
    }
    return c;
  }
  // Spherical harmonics of degree 1 to 3 in a direction, as in types/gaussians.py.
  vec3 avatarHarmonics(usampler2D splats, uint first, int count, vec3 d) {
    float x = d.x, y = d.y, z = d.z;
    float basis[15] = float[15](
      -0.48860251 * y, 0.48860251 * z, -0.48860251 * x,
      1.09254843 * x * y, -1.09254843 * y * z, 0.31539157 * (3.0 * z * z - 1.0), -1.09254843 * x * z,
      0.54627422 * (x * x - y * y),
      -0.59004359 * y * (3.0 * x * x - y * y), 2.89061144 * x * y * z, -0.45704580 * y * (5.0 * z * z - 1.0),
      0.37317633 * z * (5.0 * z * z - 3.0), -0.45704580 * x * (5.0 * z * z - 1.0), 1.44530572 * z * (x * x - y * y),
      -0.59004359 * x * (x * x - 3.0 * y * y)
    );
    vec3 total = vec3(0.0);
    for (int k = 0; k < count; k++) total += basis[k] * avatarCoefficient(splats, first, k);
    return total;
  }
  vec3 avatarRigid(sampler2D surface, uint first, uvec4 packed, vec3 rest, out vec4 real) {
    uint joints[4] = uint[4](packed.x & 0xffffu, packed.x >> 16, packed.y & 0xffffu, packed.y >> 16);
    vec4 weights = vec4(float(packed.z & 0xffffu), float(packed.z >> 16), float(packed.w & 0xffffu), float(packed.w >> 16));
    vec4 pivot = avatarTexel(surface, first + 2u * joints[0]);
    real = vec4(0.0);
    vec4 dual = vec4(0.0);
    for (int k = 0; k < 4; k++) {
      vec4 turn = avatarTexel(surface, first + 2u * joints[k]);
      float weight = dot(turn, pivot) < 0.0 ? -weights[k] : weights[k];
      real += weight * turn;
      dual += weight * avatarTexel(surface, first + 2u * joints[k] + 1u);
    }
    dual /= length(real);
    real /= length(real);
    return avatarTurned(real, rest) + 2.0 * (real.w * dual.xyz - dual.w * real.xyz + cross(real.xyz, dual.xyz));
  }
  void avatarSplat(
    sampler2D surface, usampler2D splats, int index, int seeds, int joints, int texels, bool anisotropic, int coefficients, vec3 eye,
    out vec3 center, out vec3 scales, out vec4 quaternion, out vec4 rgba
  ) {
    uint at = uint(index) * uint(texels);
    uvec4 a = texelFetch(splats, ivec2(at & 1023u, at >> 10), 0);
    uvec4 b = texelFetch(splats, ivec2((at + 1u) & 1023u, (at + 1u) >> 10), 0);
    uint corners[3] = uint[3](a.x & 0xffffu, a.x >> 16, a.y);
    vec2 first = vec2(float(a.z & 0xffffu), float(a.z >> 16)) / 65535.0;
    float weights[3] = float[3](first.x, first.y, 1.0 - first.x - first.y);
    vec4 rows[4] = vec4[4](vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
    for (int k = 0; k < 3; k++) {
      uint texel = corners[k] * 4u;
      for (uint r = 0u; r < 4u; r++) {
        rows[r] += weights[k] * avatarTexel(surface, texel + r);
      }
    }
    vec2 zw = unpackHalf2x16(b.y);
    vec4 rest = vec4(rows[3].xyz + vec3(unpackHalf2x16(b.x), zw.x), 1.0);
    center = vec3(dot(rows[0], rest), dot(rows[1], rest), dot(rows[2], rest));
    scales = unpackHalf2x16(b.z).xxx;
    if (anisotropic) scales = vec3(unpackHalf2x16(b.z), unpackHalf2x16(b.w).x);
    vec4 turn = vec4(0.0, 0.0, 0.0, 1.0);
    if (index >= seeds) {
      uvec4 moved = texelFetch(splats, ivec2((at + 2u) & 1023u, (at + 2u) >> 10), 0);
      center = avatarRigid(surface, uint(joints), moved, rest.xyz, turn);
    } else {
      scales *= rows[3].w;
      if (anisotropic || coefficients > 0) turn = avatarRotation(rows);
    }
    quaternion = vec4(0.0, 0.0, 0.0, 1.0);
    uint further = at + 3u;
    if (anisotropic) {
      uvec4 own = texelFetch(splats, ivec2(further & 1023u, further >> 10), 0);
      quaternion = avatarProduct(turn, normalize(vec4(unpackHalf2x16(own.x), unpackHalf2x16(own.y))));
      further += 1u;
    }
    rgba = vec4(vec3(float(a.w & 255u), float((a.w >> 8) & 255u), float((a.w >> 16) & 255u)) / 255.0, zw.y);
    if (coefficients > 0) {
      vec3 direction = avatarTurned(vec4(-turn.xyz, turn.w), normalize(center - eye));
      rgba.rgb = max(vec3(0.0), rgba.rgb + avatarHarmonics(splats, further, coefficients, direction));
    }
  }
`;

function generator({ count, seeds, joints, anisotropic, coefficients, texels }, surface, splats, eye) {
  return dyno.dynoBlock({ index: "int" }, { gsplat: dyno.Gsplat }, ({ index }) => {
    const made = new dyno.Dyno({
      inTypes: { index: "int", surface: "sampler2D", splats: "usampler2D", eye: "vec3" },
      outTypes: { gsplat: dyno.Gsplat },
      inputs: { index, surface, splats, eye },
      globals: () => [dyno.defineGsplat, GLSL],
      statements: ({ inputs, outputs }) => {
        const g = outputs.gsplat;
        return [
          `${g}.index = ${inputs.index};`,
          `${g}.flags = 0u;`,
          `${g}.quaternion = vec4(0.0, 0.0, 0.0, 1.0);`,
          `if (${inputs.index} < ${count}) {`,
          `  avatarSplat(${inputs.surface}, ${inputs.splats}, ${inputs.index}, ${seeds}, ${joints}, ${texels}, ${anisotropic},`,
          `    ${coefficients}, ${inputs.eye}, ${g}.center, ${g}.scales, ${g}.quaternion, ${g}.rgba);`,
          `  ${g}.flags = GSPLAT_FLAG_ACTIVE;`,
          "}",
        ];
      },
    });
    return { gsplat: made.outputs.gsplat };
  });
}
