// English letters to visemes, for the browser's voices, whose sound no page can hear.

const TWO = {
  th: "TH", ch: "CH", sh: "CH", ph: "FF", ng: "nn", ck: "kk", oo: "ou", ee: "ih", ea: "ih", ou: "ou", ow: "oh", ai: "E", ay: "E", wh: "ou",
};
const ONE = {
  a: "aa", e: "E", i: "ih", o: "oh", u: "ou", y: "ih", b: "PP", p: "PP", m: "PP", f: "FF", v: "FF", t: "DD", d: "DD", k: "kk", g: "kk",
  c: "kk", q: "kk", x: "kk", h: "kk", s: "SS", z: "SS", n: "nn", l: "nn", r: "RR", w: "ou", j: "CH",
};
const PACE = 0.075; // seconds of a letter

/** Visemes { name, start, end } of a text, from `start` seconds; spaces and signs are pauses. */
export function spelled(text, start = 0) {
  const out = [], letters = text.toLowerCase().replace(/([a-z]{2,}[^aeiou])e\b/g, "$1");
  let now = start;
  for (let k = 0; k < letters.length; k++) {
    const two = TWO[letters.slice(k, k + 2)], name = two ?? ONE[letters[k]];
    const seconds = PACE * (two ? 1.5 : 1);
    if (two) k++;
    const last = out.at(-1);
    if (name && last?.name === name && last.end === now) last.end = now + seconds;
    else if (name) out.push({ name, start: now, end: now + seconds });
    now += /[.!?;:,]/.test(letters[k]) ? 4 * PACE : seconds;
  }
  return out;
}
