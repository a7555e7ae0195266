// Visemes of a voice, from its spectrum: a small network, which ../../tools/train_visemes.py made. It runs where it is loaded: as an audio
// worklet, or on the main thread.

const BANDS = 20, LOWEST = 100, HIGHEST = 7600; // Hz
const LAGS = [0, 2, 4]; // hops: what the network sees, the present first
const VOICE = 9, RANGE = 38, QUIETEST = -66; // decibels above the noise, below the loudest, and at all, that a voice has
const SINK = 4, RISE = 2.5; // decibels per second by which the loudest is forgotten, and noise is taken for such

const mel = (hertz) => 1127 * Math.log(1 + hertz / 700);
const hertz = (m) => 700 * (Math.exp(m / 1127) - 1);

export class Hearing {
  /** network: { weights: [first layer, second layer], biases: [...] }, flat arrays; null gives features only. */
  constructor(rate, network) {
    this.size = rate >= 32000 ? 1024 : 512;
    this.hop = this.size / 2;
    this.seconds = this.hop / rate;
    this.network = network;
    this.window = Float32Array.from({ length: this.size }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 0.5)) / this.size));
    const angles = Float64Array.from({ length: this.hop }, (_, k) => (-2 * Math.PI * k) / this.size);
    this.turns = { cosines: angles.map(Math.cos), sines: angles.map(Math.sin) };
    this.kept = new Float32Array(this.size);
    this.filled = 0;
    this.bank = bands(rate, this.size);
    this.past = Array.from({ length: LAGS.at(-1) + 1 }, () => new Float32Array(BANDS + 1));
    this.input = new Float32Array(LAGS.length * (BANDS + 1));
    this.real = new Float32Array(this.size);
    this.imaginary = new Float32Array(this.size);
    [this.peak, this.floor] = [-35, -60];
  }

  /** Takes samples; calls `told(probabilities or null in silence, decibels, features)` about 90 times a second. */
  push(samples, told) {
    for (let i = 0; i < samples.length; i++) {
      this.kept[this.filled++] = samples[i];
      if (this.filled < this.size) continue;
      this.frame(told);
      this.kept.copyWithin(0, this.hop);
      this.filled = this.size - this.hop;
    }
  }

  frame(told) {
    let power = 0;
    for (let i = 0; i < this.size; i++) {
      this.real[i] = this.kept[i] * this.window[i];
      power += this.real[i] * this.real[i];
    }
    this.imaginary.fill(0);
    transform(this.real, this.imaginary, this.turns);
    const decibels = 10 * Math.log10(power / (0.375 * this.size) + 1e-10);
    this.peak = Math.max(decibels, this.peak - SINK * this.seconds, -50);
    this.floor = Math.min(Math.max(decibels, -90), this.floor + RISE * this.seconds);
    const now = this.past.pop();
    this.past.unshift(now);
    let mean = 0;
    for (let b = 0; b < BANDS; b++) {
      const { first, shares } = this.bank[b];
      let sum = 1e-9;
      for (let k = 0; k < shares.length; k++) {
        sum += shares[k] * (this.real[first + k] ** 2 + this.imaginary[first + k] ** 2);
      }
      now[b] = Math.log(sum);
      mean += now[b] / BANDS;
    }
    for (let b = 0; b < BANDS; b++) now[b] -= mean;
    now[BANDS] = Math.max(-3, (decibels - this.peak) / 15);
    LAGS.forEach((lag, n) => this.input.set(this.past[lag], n * (BANDS + 1)));
    const voice = decibels > Math.max(this.floor + VOICE, this.peak - RANGE, QUIETEST);
    told(voice && this.network ? classified(this.input, this.network) : null, decibels, this.input);
  }
}

/** Triangles on the mel scale. */
function bands(rate, size) {
  const [low, high] = [mel(LOWEST), mel(HIGHEST)], bin = rate / size;
  const edge = (n) => hertz(low + ((high - low) * n) / (BANDS + 1)) / bin;
  return Array.from({ length: BANDS }, (_, b) => {
    const [a, m, z] = [edge(b), edge(b + 1), edge(b + 2)];
    const first = Math.max(1, Math.ceil(a)), last = Math.min(size / 2, Math.max(first, Math.floor(z))), shares = [];
    for (let k = first; k <= last; k++) shares.push(Math.max(1e-3, Math.min((k - a) / (m - a), (z - k) / (z - m))));
    const total = shares.reduce((s, x) => s + x, 0);
    return { first, shares: shares.map((x) => x / total) };
  });
}

/** Fast Fourier transform in place; the length is a power of two. */
function transform(re, im, turns) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let length = 2; length <= n; length <<= 1) {
    const half = length / 2, step = n / length;
    for (let k = 0; k < half; k++) {
      const c = turns.cosines[k * step], s = turns.sines[k * step];
      for (let i = k; i < n; i += length) {
        const j = i + half, x = re[j] * c - im[j] * s, y = re[j] * s + im[j] * c;
        re[j] = re[i] - x;
        im[j] = im[i] - y;
        re[i] += x;
        im[i] += y;
      }
    }
  }
}

function classified(input, { weights, biases }) {
  let layer = input;
  weights.forEach((matrix, n) => {
    const out = Float32Array.from(biases[n]);
    for (let o = 0; o < out.length; o++) for (let i = 0; i < layer.length; i++) out[o] += matrix[o * layer.length + i] * layer[i];
    layer = n + 1 < weights.length ? out.map(Math.tanh) : out;
  });
  const most = Math.max(...layer), powers = layer.map((x) => Math.exp(x - most)), total = powers.reduce((s, x) => s + x, 0);
  return powers.map((x) => x / total);
}
