// What the main part of the page shows. A view is {node, update(state)}; it is made anew only where its key changes.

import { ask, button, make, seconds, send, setText } from "./dom.js";

const PRESETS = {
  instant: ["Instant", "seconds; a first look"],
  draft: ["Draft", "a minute or two"],
  standard: ["Standard", "minutes; looks best"],
};
const STAGES = {
  tracking: "Find the person and fit the body", motions: "Choose motions", "body-labels": "Imagine the body from other sides",
  "head-labels": "Imagine the head from other sides", avatar: "Make the avatar", preview: "Take pictures of it", page: "Make it move",
};
const FORMATS = {
  glb: ["GLB", "3D programs and game engines: bones, face shapes, motions"], vrm: ["VRM", "VTuber and VR apps"],
  ply: ["PLY", "Gaussian splats, for splat editors"], spz: ["SPZ", "Gaussian splats, small"], web: ["Web page", "one file; opens in any browser"],
};
export const nameOf = (build) => build.name || build.title;

const list = (items) => make("ul", {}, ...items.map((text) => make("li", { textContent: text })));

function notes(given, advice = []) {
  if (!given.length) return null;
  return make("div", { className: "note" }, make("h3", { textContent: "Worth knowing" }), list(given),
    advice.length > 0 && make("details", {}, make("summary", { textContent: "How to take a better photo" }), list(advice)));
}

const problem = (text) => make("div", { className: "note bad", role: "alert" }, make("h3", { textContent: "That did not work" }), make("p", { textContent: text }));

const photoOf = (build, local) =>
  make("img", { className: "photo", src: local.get(build.id) ?? `/photos/${build.id}`, alt: `The photo ${build.title}`,
    on: { error: ({ target }) => (target.hidden = true) } });

/** Runs what a button asks for; a problem is shown beside it. */
function doing(work, after) {
  return async ({ currentTarget: pressed }) => {
    pressed.disabled = true;
    try {
      await work();
      await after();
    } catch (error) {
      pressed.closest(".card, li, form").querySelector(":scope > .problem")?.remove();
      pressed.closest(".card, li, form").append(make("p", { className: "problem", role: "alert", textContent: error.message }));
    } finally {
      pressed.disabled = false;
    }
  };
}

// ------------------------------------------------------------------------------------------------------------- a new avatar

export function newView(context) {
  const { take, sample, camera } = context;
  const input = make("input", { type: "file", accept: "image/*,.heic,.heif,.avif", className: "unseen", tabIndex: -1, "aria-label": "Photo",
    on: { change: () => input.files.length && take(input.files[0], input.files[0].name) } });
  const failed = make("p", { className: "problem", role: "alert" });
  const trial = button("Try the sample", sample);
  const drop = make("div", { className: "drop" },
    make("h2", { tabIndex: -1, textContent: "Drop a photo here" }),
    make("p", { className: "soft", textContent: "or paste one. It is checked first; nothing is built before you say so." }),
    input,
    make("p", { className: "row" }, button("Choose a photo", () => input.click(), "strong"), button("Use the camera", camera),
      trial), failed);
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (e) => (e.preventDefault(), drop.classList.add("over")));
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  const good = ["One person, from the front", "The whole face in view, well lit", "Head to hips, hands in view", "A plain background helps"];
  const node = make("div", {}, drop, make("ul", { className: "good", "aria-label": "A good photo" }, ...good.map((text) => make("li", { textContent: text }))));
  const update = ({ ready }) => {
    setText(failed, context.trouble);
    trial.disabled = !ready; // the first worker brings it
  };
  return { node, update };
}

// ------------------------------------------------------------------------------------------------------------ a photo's way

export function buildView(build, context) {
  if (build.state === "building" && build.shown) return liveView(build, context);
  const views = { checking: workView, queued: workView, building: workView, ready: readyView, refused: refusedView, stopped: endedView, failed: endedView };
  return (views[build.state] ?? workView)(build, context);
}

function frame(build, context, title, ...content) {
  return make("div", { className: "card split" }, make("div", {}, photoOf(build, context.photos)),
    make("div", {}, make("h2", { tabIndex: -1, textContent: title }), ...content));
}

const titles = { checking: "Checking the photo", queued: "Waiting for its turn", building: "Building" };

function workView(build, { photos, refresh }) {
  const heading = make("h2", { tabIndex: -1 });
  const note = make("p", { className: "soft" });
  const bar = make("progress", { max: 1, "aria-label": "Progress of this stage" });
  const stages = make("ol", { className: "stages" });
  const node = make("div", { className: "card split" }, make("div", {}, photoOf(build, photos)),
    make("div", {}, heading, note, bar, stages,
      make("p", { className: "row" }, button("Cancel", doing(() => send(`/api/builds/${build.id}/cancel`), refresh)))));
  const update = (now) => {
    setText(heading, now.state === "building" ? `Building ${nameOf(now)}` : (titles[now.state] ?? now.state));
    const wait = { checking: now.stages.length ? "" : "Getting ready ...", queued: "Builds run one after another.", building: "You may close this page: the build goes on." };
    setText(note, now.step ? `${now.step[0].toUpperCase()}${now.step.slice(1)} ...` : (wait[now.state] ?? ""));
    if (now.fraction === null || now.state === "queued") bar.removeAttribute("value");
    else bar.value = now.fraction;
    bar.hidden = now.state === "queued";
    while (stages.children.length > now.stages.length) stages.lastChild.remove();
    now.stages.forEach((stage, k) => {
      if (!stages.children[k]) stages.append(make("li", {}, make("span", { className: "mark", "aria-hidden": "true" }), make("span"), make("span")));
      const [mark, name, time] = stages.children[k].children, over = stage.seconds !== null;
      setText(mark, over ? "\u2713" : "\u2026");
      setText(name, STAGES[stage.name] ?? stage.name);
      setText(time, over ? seconds(stage.seconds) : now.fraction === null ? "now" : `${Math.round(100 * now.fraction)} %`);
    });
  };
  update(build);
  return { node, update };
}

const DRAG = "Drag to look around. Play motions below it; under Controls it speaks your text, a sound file or along with your microphone.";

function framed(src, name) {
  return make("iframe", { src, title: `${name}, live: motions, talk, face and pose`, allow: "microphone; autoplay" });
}

/** The avatar, live while its pictures and report are made. `avatarView` goes on with the same frame: a frame that moves loads again. */
function liveView(build, context) {
  const work = workView(build, context), heading = make("h2", { tabIndex: -1, textContent: nameOf(build) });
  const frame = framed(`/builds/${build.id}/view`, nameOf(build));
  const node = make("div", {}, heading, frame, make("p", { className: "soft", textContent: DRAG }), work.node);
  return { node, update: work.update, heading, frame, rest: work.node, build: build.id };
}

function readyView(build, context) {
  const { refresh, remove } = context;
  const consent = make("textarea", { name: "consent", required: true, maxLength: 2000, rows: 2, value: build.consent,
    placeholder: "Ada Lovelace agreed on 3 May to an avatar for my game.", "aria-describedby": "consent-problem" });
  const wrong = make("p", { className: "problem", id: "consent-problem", role: "alert" });
  const choices = Object.keys(PRESETS).map((name) => {
    const [title, text] = PRESETS[name];
    return make("label", { className: "choice" }, make("input", { type: "radio", name: "preset", value: name, checked: name === build.preset }), ` ${title}`,
      make("small", { textContent: text }));
  });
  const name = make("input", { type: "text", name: "name", value: build.name, maxLength: 60, autocomplete: "off" });
  const keep = make("input", { type: "checkbox", name: "keep" });
  const start = make("button", { type: "submit", className: "strong", textContent: "Build the avatar" });
  const form = make("form", { noValidate: true },
    make("label", { className: "field" }, "What did the person agree to?", make("small", { textContent: "It goes into the avatar. If it is you, say so." }), consent), wrong,
    make("fieldset", {}, make("legend", { textContent: "Quality and time" }), make("div", { className: "choices" }, ...choices)),
    make("label", { className: "field" }, "Name of the avatar", name),
    make("label", { className: "field check" }, keep, "Put the photo itself into the avatar"),
    make("p", { className: "row" }, start, button("Take another photo", () => remove(build))));
  form.addEventListener("input", () => consent.value.trim() && setText(wrong, ""));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!consent.value.trim()) {
      setText(wrong, "Say what the person agreed to: an avatar needs their consent.");
      consent.focus();
      return;
    }
    start.disabled = true;
    const preset = form.elements.preset.value;
    try {
      await send(`/api/builds/${build.id}/build`, { preset, consent: consent.value, name: name.value, keep_photo: keep.checked });
      await refresh();
    } catch (error) {
      setText(wrong, error.message);
    }
    start.disabled = false;
  });
  const fine = build.notes.length ? null : make("p", { textContent: "The photo is fine: nothing stands in the way." });
  return { node: frame(build, context, build.notes.length ? "The photo can be used" : "The photo is good", fine, notes(build.notes, build.advice), form), update: () => {} };
}

function refusedView(build, context) {
  const { refresh, remove } = context;
  if (build.people > 1) {
    const numbers = Array.from({ length: build.people }, (_, k) => k + 1);
    const choose = (n) => button(`${n}`, doing(() => send(`/api/builds/${build.id}/choose`, { person: n }), refresh), "strong");
    return { update: () => {}, node: frame(build, context, `${build.people} people are in the photo`,
      make("p", { textContent: "Which one? Count from left to right." }),
      make("p", { className: "row", role: "group", "aria-label": "Person, from left to right" }, ...numbers.map(choose)),
      make("p", { className: "row" }, button("Take another photo", () => remove(build)))) };
  }
  return { update: () => {}, node: frame(build, context, "This photo cannot be used", problem(build.message),
    make("p", { className: "row" }, button("Take another photo", () => remove(build), "strong"))) };
}

function endedView(build, context) {
  const { refresh, remove } = context, stopped = build.state === "stopped";
  const log = build.log && make("details", {}, make("summary", { textContent: "The last lines of its log" }), make("pre", { textContent: build.log }));
  return { update: () => {}, node: frame(build, context, stopped ? "Stopped" : "The build failed", stopped ? make("p", { textContent: build.message }) : problem(build.message), log,
    make("p", { className: "row" }, button(stopped ? "Continue" : "Try again", doing(() => send(`/api/builds/${build.id}/resume`), refresh), "strong"),
      button("Remove the photo", () => remove(build)))) };
}

// ---------------------------------------------------------------------------------------------------------------- an avatar

/** The card with which an avatar follows a video. */
function driverView(avatar, at, { refresh, most }) {
  const failed = make("p", { className: "problem", role: "alert" }), told = make("p", { className: "soft", role: "status" });
  const bar = make("progress", { max: 1, "aria-label": "Progress of following the video" });
  const input = make("input", { type: "file", accept: "video/*,.mkv", className: "unseen", tabIndex: -1, "aria-label": "Video", on: { change: () => input.files.length && send(input.files[0]) } });
  const choose = button("Choose a video", () => input.click());
  const cancel = button("Cancel", () => ask(`/api${at}/video`, "DELETE", "{}").then(refresh));
  const send = async (file) => {
    setText(failed, "");
    choose.disabled = true;
    try {
      if (file.size > most().most_video_bytes) throw new Error(`The video is too large: it may have ${Math.round(most().most_video_bytes / 1e6)} MB.`);
      await ask(`/api${at}/video`, "POST", file, { "X-Name": encodeURIComponent(file.name) });
      await refresh();
    } catch (error) {
      setText(failed, error.message);
    }
    input.value = "";
    choose.disabled = false;
  };
  const node = make("section", { className: "card" }, make("h2", { textContent: "Let it move like a video" }),
    make("p", { className: "soft", textContent: "Choose a video of one person; it takes minutes, and the video is deleted afterwards." }),
    input, bar, told, failed, make("p", { className: "row" }, choose, cancel));
  const update = (now) => {
    const busy = now?.state === "working";
    bar.hidden = cancel.hidden = !busy;
    choose.hidden = busy;
    if (busy && typeof now.fraction === "number") bar.value = now.fraction;
    else bar.removeAttribute("value");
    setText(told, busy ? now.step || "Waits for its turn, or gets ready ..." : now?.state === "ready" ? now.message : "");
    if (now?.state === "failed") setText(failed, now.message);
  };
  update();
  return { node, update };
}

export function avatarView(avatar, context, before) {
  const { refresh, sure } = context, at = `/avatars/${encodeURIComponent(avatar.name)}`, api = `/api${at}/files`;
  const stage = make("div", { className: "card waiting", role: "status" }, make("div", {}, make("p", { textContent: "Getting the avatar ready ..." }), make("progress", { "aria-label": "Getting the avatar ready" })));
  const entries = new Map(), driver = driverView(avatar, at, context);
  const exports = make("ul", { className: "exports" });
  const day = new Date(1000 * avatar.made).toLocaleDateString(undefined, { dateStyle: "medium" });
  const facts = [avatar.preset && `preset ${avatar.preset}`, `made on ${day}`].filter(Boolean).join(", ");
  const kept = before?.avatar === avatar.name ? before : null; // it is live already
  kept?.rest.remove();
  kept?.heading.replaceChildren(avatar.name);
  const node = kept?.node ?? make("div", {}, make("h2", { tabIndex: -1, textContent: avatar.name }), stage);
  node.append(
    make("section", { className: "card" }, make("h2", { textContent: "Take it with you" }), exports),
    driver.node,
    make("section", { className: "card" }, make("h2", { textContent: "About it" }), make("p", { textContent: `${facts}. Consent: ${avatar.consent || "not recorded"}` }),
      avatar.fit && make("p", { textContent: `How well it fits the photo: ${avatar.fit}. The report explains these numbers.` }), notes(avatar.notes),
      make("p", { className: "row" }, make("a", { className: "button", href: `${at}/report.html`, target: "_blank", textContent: "Report: how it was made" }),
        avatar.own && button("Delete", () => sure(avatar), "danger")),
      avatar.own ? null : make("p", { className: "soft", textContent: "It was not made here, so it is not deleted here." })));
  exports.append(make("li", {}, make("span", {}, make("b", { textContent: "Video" }), make("small", { textContent: "it talks while the camera turns around it" })),
    make("a", { className: "button", href: `${at}/preview.mp4`, download: `${avatar.name}.mp4`, textContent: "Download", "aria-label": "Download the video" })));
  let live = kept ? "" : null, frame = kept?.frame ?? null;
  const show = (version) => {
    live = version;
    if (frame) return void (frame.src = `${at}/view?${encodeURIComponent(version)}`);
    frame = framed(`${at}/view`, avatar.name);
    stage.replaceWith(frame);
    frame.after(make("p", { className: "soft", textContent: DRAG }));
  };
  const update = (now, formats) => {
    const view = now.files.view;
    driver.update(now.files.drive);
    if (view?.state === "ready" && live !== (view.version ?? "")) show(view.version ?? "");
    if (view?.state === "failed" && !frame) stage.replaceChildren(problem(view.message));
    if (!view && !frame && formats.length) ask(`${api}/view`, "POST", "{}").then(refresh, (e) => stage.replaceChildren(problem(e.message)));
    for (const format of formats) {
      if (!entries.has(format)) {
        const [title, text] = FORMATS[format] ?? [format, "of a plugin"];
        const place = make("span", { className: "place" });
        const entry = make("li", {}, make("span", {}, make("b", { textContent: title }), make("small", { textContent: text })), place);
        exports.append(entry);
        entries.set(format, { entry, place, state: null });
      }
      const held = entries.get(format), made = now.files[format], state = made?.state ?? "none";
      if (held.state === state) continue;
      held.state = state;
      const title = FORMATS[format]?.[0] ?? format;
      held.entry.querySelector(".problem")?.remove();
      const shown = {
        working: () => make("span", { className: "soft", role: "status", textContent: "Exporting ..." }),
        ready: () => make("a", { className: "button strong", href: `${at}/files/${format}`, download: "", textContent: "Download", "aria-label": `Download ${title}` }),
      }[state] ?? (() => make("button", { type: "button", textContent: "Export", "aria-label": `Export ${title}`, on: { click: doing(() => send(`${api}/${format}`), refresh) } }));
      const focused = held.place.contains(document.activeElement);
      held.place.replaceChildren(shown());
      if (focused) held.place.firstChild.focus();
      if (state === "failed") held.entry.append(make("p", { className: "problem", role: "alert", textContent: made.message }));
    }
  };
  return { node, update };
}
