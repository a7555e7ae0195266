// Hears visemes in a sound: on the audio thread where the browser allows it.

import { Hearing } from "./hearing.js";
import program from "./hearing.js?raw";
import network from "./network.json";

/** Visemes in the order of the network. */
const NAMES = ["sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR", "aa", "E", "ih", "oh", "ou"];
const QUIET = -55, LOUD = -12; // decibels at the ends of the level
const SAMPLES = 512; // at once, on the main thread

const WORKLET = `${program}
registerProcessor("avatarkit-hearing", class extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.hearing = new Hearing(sampleRate, processorOptions.network);
  }
  process([[samples]]) {
    if (samples) this.hearing.push(samples, (found, decibels) => this.port.postMessage({ found, decibels }));
    return true;
  }
});`;

/** A node that listens: calls `heard(viseme -> probability, or null in silence; level 0 to 1)` about 90 times a second. */
export async function listener(context, heard) {
  const told = (found, decibels) => {
    const shares = found && Object.fromEntries(NAMES.map((name, k) => [name, found[k]]));
    heard(shares, Math.max(0, Math.min(1, (decibels - QUIET) / (LOUD - QUIET))));
  };
  return window.origin === "null" ? here(context, told) : onAudioThread(context, told);
}

async function onAudioThread(context, told) {
  const address = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
  try {
    await context.audioWorklet.addModule(address);
  } finally {
    URL.revokeObjectURL(address);
  }
  const options = { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit", processorOptions: { network } };
  const node = new AudioWorkletNode(context, "avatarkit-hearing", options);
  node.port.onmessage = ({ data }) => told(data.found, data.decibels);
  return node;
}

/** On the main thread: a page that was opened as a file may not load a module, which a worklet is. */
function here(context, told) {
  const hearing = new Hearing(context.sampleRate, network);
  const node = context.createScriptProcessor(SAMPLES, 1, 1);
  node.onaudioprocess = ({ inputBuffer }) => {
    const before = performance.now();
    hearing.push(inputBuffer.getChannelData(0), told);
    node.milliseconds = performance.now() - before;
  };
  node.connect(context.destination); // silent, but browsers run nothing that leads nowhere
  return node;
}
