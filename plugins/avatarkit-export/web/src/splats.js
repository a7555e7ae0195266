// The avatar's Gaussians on the GPU (paper, eq. 3 and 4): each reads the transforms and the expressed positions of its
// triangle's corners, blends them by its barycentric weights, and adds its own offset in rest space. Skinning, blend shapes
// and stretch are therefore the avatar's own, not an approximation with bones of its own. What grows outside the surface is moved
// by a rigid blend of four joints instead of its triangle's transform. Spark sorts and draws.

import { SplatGenerator, dyno } from "@sparkjsdev/spark";
import * as THREE from "three";

const WIDTH = 1024; // texels per row of all our textures

export class Splats {
  constructor(body, arrays) {
    this.count = arrays.splat_scale.length;
    this.surface = texture(body.surface, THREE.RGBAFormat, THREE.FloatType, "RGBA32F");
    const splats = texture(packed(arrays, this.count), THREE.RGBAIntegerFormat, THREE.UnsignedIntType, "RGBA32UI");
    this.object = new SplatGenerator({
      numSplats: this.count,
      generator: generator(
        { count: this.count, seeds: this.count - arrays.seed_joints.length / 4, joints: body.V * 4 },
        dyno.dynoSampler2D(this.surface),
        dyno.dynoUsampler2D(splats),
      ),
    });
  }

  /** After `Body.pose`. */
  update() {
    this.surface.needsUpdate = true;
    this.object.updateVersion();
  }
}

/** Twelve u32 a Gaussian: corners (2), weights, colour, offset and opacity in half floats (2), scale, nothing, joints, their weights. */
function packed(arrays, count) {
  const { splat_corners: corners, splat_weights: weights, splat_offset: offset } = arrays;
  const { splat_opacity: opacity, splat_scale: scale, splat_color: color } = arrays;
  const { seed_joints: joints, seed_weights: shares } = arrays;
  const out = new Uint32Array(Math.ceil((count * 3) / WIDTH) * WIDTH * 4);
  for (let k = 0, o = 12 * (count - joints.length / 4) + 8; k < joints.length; k += 4, o += 12) {
    out[o] = joints[k] | (joints[k + 1] << 16);
    out[o + 1] = joints[k + 2] | (joints[k + 3] << 16);
    out[o + 2] = shares[k] | (shares[k + 1] << 16);
    out[o + 3] = shares[k + 2] | (shares[k + 3] << 16);
  }
  for (let i = 0; i < count; i++) {
    const o = 12 * i;
    out[o] = corners[i] | (corners[count + i] << 16);
    out[o + 1] = corners[2 * count + i];
    out[o + 2] = weights[i] | (weights[count + i] << 16);
    out[o + 3] = color[i] | (color[count + i] << 8) | (color[2 * count + i] << 16);
    out[o + 4] = offset[i] | (offset[count + i] << 16);
    out[o + 5] = offset[2 * count + i] | (opacity[i] << 16);
    out[o + 6] = scale[i];
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
  vec3 avatarRigid(sampler2D surface, uint first, uvec4 packed, vec3 rest) {
    uint joints[4] = uint[4](packed.x & 0xffffu, packed.x >> 16, packed.y & 0xffffu, packed.y >> 16);
    vec4 weights = vec4(float(packed.z & 0xffffu), float(packed.z >> 16), float(packed.w & 0xffffu), float(packed.w >> 16));
    vec4 pivot = avatarTexel(surface, first + 2u * joints[0]);
    vec4 real = vec4(0.0);
    vec4 dual = vec4(0.0);
    for (int k = 0; k < 4; k++) {
      vec4 turn = avatarTexel(surface, first + 2u * joints[k]);
      float weight = dot(turn, pivot) < 0.0 ? -weights[k] : weights[k];
      real += weight * turn;
      dual += weight * avatarTexel(surface, first + 2u * joints[k] + 1u);
    }
    dual /= length(real);
    real /= length(real);
    vec3 turned = rest + 2.0 * cross(real.xyz, cross(real.xyz, rest) + real.w * rest);
    return turned + 2.0 * (real.w * dual.xyz - dual.w * real.xyz + cross(real.xyz, dual.xyz));
  }
  void avatarSplat(
    sampler2D surface, usampler2D splats, int index, int seeds, int joints, out vec3 center, out float scale, out vec4 rgba
  ) {
    uint at = uint(index) * 3u;
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
    scale = unpackHalf2x16(b.z).x * rows[3].w;
    if (index >= seeds) {
      center = avatarRigid(surface, uint(joints), texelFetch(splats, ivec2((at + 2u) & 1023u, (at + 2u) >> 10), 0), rest.xyz);
      scale = unpackHalf2x16(b.z).x;
    }
    rgba = vec4(vec3(float(a.w & 255u), float((a.w >> 8) & 255u), float((a.w >> 16) & 255u)) / 255.0, zw.y);
  }
`;

function generator({ count, seeds, joints }, surface, splats) {
  return dyno.dynoBlock({ index: "int" }, { gsplat: dyno.Gsplat }, ({ index }) => {
    const made = new dyno.Dyno({
      inTypes: { index: "int", surface: "sampler2D", splats: "usampler2D" },
      outTypes: { gsplat: dyno.Gsplat },
      inputs: { index, surface, splats },
      globals: () => [dyno.defineGsplat, GLSL],
      statements: ({ inputs, outputs }) => {
        const g = outputs.gsplat;
        return [
          `${g}.index = ${inputs.index};`,
          `${g}.flags = 0u;`,
          `${g}.quaternion = vec4(0.0, 0.0, 0.0, 1.0);`,
          `if (${inputs.index} < ${count}) {`,
          "  float avatarScale;",
          `  avatarSplat(${inputs.surface}, ${inputs.splats}, ${inputs.index}, ${seeds}, ${joints},`,
          `    ${g}.center, avatarScale, ${g}.rgba);`,
          `  ${g}.scales = vec3(avatarScale);`,
          `  ${g}.flags = GSPLAT_FLAG_ACTIVE;`,
          "}",
        ];
      },
    });
    return { gsplat: made.outputs.gsplat };
  });
}
