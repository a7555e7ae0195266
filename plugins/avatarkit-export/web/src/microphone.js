// The level of the visitor's microphone opens the mouth. The sound is measured here and goes nowhere.

const SHAPES = { jawOpen: 0.55, mouthFunnel: 0.25, mouthLowerDownLeft: 0.25, mouthLowerDownRight: 0.25 };

export class Microphone {
  constructor(player, changed) {
    Object.assign(this, { player, changed });
    this.shapes = Object.entries(SHAPES)
      .map(([name, weight]) => [player.data.expressions.indexOf(name), weight])
      .filter(([e]) => e >= 0);
    this.level = 0;
    this.stop = () => {};
  }

  /** Asks for the microphone; throws what the browser says. */
  async start() {
    const sound = await navigator.mediaDevices.getUserMedia({ audio: true });
    const context = new AudioContext();
    await context.resume();
    const analyser = new AnalyserNode(context, { fftSize: 2048 });
    context.createMediaStreamSource(sound).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    let before = performance.now();
    const listen = () => {
      const now = performance.now();
      analyser.getFloatTimeDomainData(samples);
      const loudness = Math.sqrt(samples.reduce((s, x) => s + x * x, 0) / samples.length);
      const wanted = Math.max(0, Math.min(1, (loudness - 0.008) * 9));
      const rate = wanted > this.level ? 0.04 : 0.12; // seconds: mouths open faster than they close
      this.set(this.level + (wanted - this.level) * (1 - Math.exp(-(now - before) / 1000 / rate)));
      before = now;
    };
    const timer = setInterval(listen, 20); // also where pictures come slower
    this.stop = () => {
      clearInterval(timer);
      sound.getTracks().forEach((track) => track.stop());
      context.close();
      this.set(0);
    };
  }

  set(wanted) {
    const level = wanted < 1e-3 ? 0 : wanted;
    if (level === 0 && this.level === 0) return; // silence asks for no picture
    this.level = level;
    for (const [e, weight] of this.shapes) this.player.voice[e] = level * weight;
    this.player.dirty = true;
    this.changed();
  }
}
