// Writes what the page's Hearing makes of raw float32 samples: hear.js SAMPLES RATE OUT, rows of features. For train_visemes.py.

import { readFileSync, writeFileSync } from "node:fs";

import { Hearing } from "../web/src/hearing.js";

const [, , file, rate, out] = process.argv;
const raw = readFileSync(file);
const samples = new Float32Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.length));
const rows = [];
new Hearing(Number(rate), null).push(samples, (found, decibels, features) => rows.push(...features));
writeFileSync(out, Buffer.from(Float32Array.from(rows).buffer));
