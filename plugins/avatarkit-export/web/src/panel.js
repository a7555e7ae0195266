// Buttons and sliders. What the page says in words is in page.html; here are the lists that depend on the avatar.

const REGIONS = [
  ["Brows", /^brow/], ["Eyes", /^eye/], ["Cheeks and nose", /^(cheek|nose)/], ["Mouth and jaw", /^(mouth|jaw)/],
  ["Tongue", /^tongue/], ["More", /./],
];
const LIMBS = [
  ["Head and trunk", /^(head|neck|spine\d)$/], ["Eyes", /eye/], ["Left arm", /^left_(collar|shoulder|elbow|wrist|.*twist)/],
  ["Right arm", /^right_(collar|shoulder|elbow|wrist|.*twist)/], ["Left hand", /^left_(thumb|index|middle|ring|pinky|meta)/],
  ["Right hand", /^right_(thumb|index|middle|ring|pinky|meta)/], ["Legs", /(hip|knee|ankle|foot)$/],
];
const FACES = {
  Smile: { mouthSmileLeft: 0.9, mouthSmileRight: 0.9, cheekSquintLeft: 0.4, cheekSquintRight: 0.4 },
  Surprise: { browInnerUp: 0.9, browOuterUpLeft: 0.8, browOuterUpRight: 0.8, eyeWideLeft: 0.7, eyeWideRight: 0.7, jawOpen: 0.4 },
  Frown: { browDownLeft: 0.9, browDownRight: 0.9, mouthFrownLeft: 0.7, mouthFrownRight: 0.7 },
  "Eyes shut": { eyeBlinkLeft: 1, eyeBlinkRight: 1 },
  "Mouth open": { jawOpen: 0.7 },
  Kiss: { mouthPucker: 1 },
};
const AXES = ["nod", "turn", "tilt"];
const LARGEST = 70; // degrees

const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const words = (name) => {
  const text = name.replace(/_smplhf$/, "").replace(/_/g, " ").replace(/([a-z])([A-Z0-9])/g, "$1 $2").toLowerCase();
  return text[0].toUpperCase() + text.slice(1);
};

function slider(label, min, max, step, value, changed) {
  const output = element("output", { textContent: value });
  const input = element("input", { type: "range", min, max, step, value });
  input.setAttribute("aria-label", label);
  input.addEventListener("input", () => {
    output.textContent = input.value;
    changed(Number(input.value));
  });
  const row = element("label", { className: "slider" }, element("span", { textContent: label }), input, output);
  const set = (to) => {
    input.value = to;
    output.textContent = input.value;
  };
  return { row, set };
}

/** Fills <details> blocks with sliders by region; returns all of them by name. */
function fill(parent, names, regions, make) {
  const left = new Set(names);
  for (const [title, pattern] of regions) {
    const here = [...left].filter((name) => pattern.test(name));
    here.forEach((name) => left.delete(name));
    if (!here.length) continue;
    const box = element("details", {}, element("summary", { textContent: title }));
    here.forEach((name) => box.append(...make(name)));
    parent.append(box);
  }
}

export function faceSliders(parent, chips, player, changed) {
  const { expressions } = player.data;
  const sliders = new Map();
  fill(parent, expressions, REGIONS, (name) => {
    const e = expressions.indexOf(name);
    const made = slider(words(name), 0, 1, 0.01, 0, (v) => {
      player.extra[e] = v;
      player.dirty = true;
      changed();
    });
    sliders.set(name, { ...made, e });
    return [made.row];
  });
  const show = (weights) => {
    for (const [name, { set, e }] of sliders) {
      player.extra[e] = weights[name] ?? 0;
      set(player.extra[e]);
    }
    player.dirty = true;
    changed();
  };
  for (const [title, weights] of Object.entries(FACES)) {
    if (!Object.keys(weights).every((name) => sliders.has(name))) continue;
    const button = element("button", { type: "button", textContent: title });
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      chips.querySelectorAll("button").forEach((b) => b.setAttribute("aria-pressed", "false"));
      button.setAttribute("aria-pressed", String(on));
      show(on ? weights : {});
    });
    chips.append(button);
  }
  return show;
}

export function poseSliders(parent, player, changed) {
  const groups = new Map(player.data.groups.filter((g) => g.name !== "pelvis").map((g) => [g.name, g]));
  const all = [];
  fill(parent, [...groups.keys()], LIMBS, (name) => {
    const degrees = [0, 0, 0];
    return AXES.map((axis, k) => {
      const made = slider(`${words(name)}: ${axis}`, -LARGEST, LARGEST, 1, 0, (v) => {
        degrees[k] = v;
        player.turns.set(groups.get(name), degrees);
        player.dirty = true;
        changed();
      });
      all.push(() => {
        degrees[k] = 0;
        made.set(0);
      });
      return made.row;
    });
  });
  return () => {
    all.forEach((reset) => reset());
    player.turns.clear();
    player.dirty = true;
    changed();
  };
}
