// The page of `avatarkit studio`: shows the state that the server holds, and sends what the user wants. A reload loses nothing.

import { fromCamera } from "./camera.js";
import { $, ask, make, send, setText } from "./dom.js";
import { avatarView, buildView, nameOf, newView } from "./views.js";

const BUSY = ["checking", "queued", "building"];
const WORDS = { checking: "checking", ready: "waits for you", refused: "cannot be used", queued: "waits", building: "building", stopped: "stopped", failed: "failed" };
const photos = new Map(); // id of a build -> address of the photo that was dropped here
let state = null, shown = { key: null }, asking = null, timer = 0;
const said = new Map();

// -------------------------------------------------------------------------------------------------------------- the state

function refresh() {
  asking ??= ask("/api/state")
    .then((found) => {
      $("lost").hidden = true;
      if (state && state.run !== found.run) location.reload(); // the studio was started again: this page has an old token
      state = found;
      render();
    })
    .catch(() => ($("lost").hidden = false))
    .finally(() => {
      asking = null;
      clearTimeout(timer);
      const busy = !state?.ready || state.builds.some((b) => BUSY.includes(b.state)) || working();
      timer = setTimeout(refresh, busy ? 500 : 3000);
    });
  return asking;
}

const working = () => state.avatars.some((a) => Object.values(a.files).some((f) => f.state === "working"));

const go = (place) => {
  if (location.hash === place) render();
  else location.hash = place;
};

// ------------------------------------------------------------------------------------------------------------ what it shows

function render() {
  if (!state) return;
  const [kind, raw = ""] = location.hash.slice(1).split("/"), id = decodeURIComponent(raw);
  const build = kind === "build" && state.builds.find((b) => b.id === id);
  const avatar = kind === "avatar" && state.avatars.find((a) => a.name === id);
  if (build?.state === "done") {
    if (shown.view?.build === id) shown.view.avatar = build.name;
    go(`#avatar/${encodeURIComponent(build.name)}`);
    ask(`/api/builds/${build.id}`, "DELETE").catch(() => {});
    return;
  }
  if ((kind === "build" && !build) || (kind === "avatar" && !avatar)) return go("#new");
  if (build) place(`build/${id}/${BUSY.includes(build.state) ? (build.shown ? "live" : "busy") : build.state + build.message}`, () => buildView(build, context), (view) => view.update(build));
  else if (avatar) place(`avatar/${id}/${avatar.made}`, (before) => avatarView(avatar, context, before), (view) => view.update(avatar, state.formats));
  else place("new", () => newView(context), (view) => view.update(state));
  document.body.classList.toggle("new", !build && !avatar);
  lists(kind, id);
  announce();
}

/** Shows a view; it is made anew only where `key` changes, so that what the user types stays. */
function place(key, create, update) {
  if (shown.key !== key) {
    const first = shown.key === null;
    shown = { key, view: create(shown.view) };
    if ($("main").firstChild !== shown.view.node) {
      $("main").replaceChildren(shown.view.node);
      const heading = $("main").querySelector("h2");
      if (!first) heading?.focus({ preventScroll: true });
      if (!first) window.scrollTo({ top: 0 });
    }
  }
  update(shown.view);
}

function entry(held, key, href, current) {
  let item = [...held.children].find((e) => e.dataset.key === key);
  if (!item) {
    item = make("li", {}, make("a", { href }, make("span", { className: "picture" }), make("span", {}, make("b"), make("small"))));
    item.dataset.key = key;
    held.append(item);
  }
  if (current) item.firstChild.setAttribute("aria-current", "page");
  else item.firstChild.removeAttribute("aria-current");
  return item;
}

function lists(kind, id) {
  const builds = state.builds.filter((b) => b.state !== "done");
  $("work").hidden = !builds.length;
  for (const build of builds) {
    const item = entry($("builds"), build.id, `#build/${build.id}`, kind === "build" && id === build.id);
    setText(item.querySelector("b"), nameOf(build));
    picture(item, photos.get(build.id) ?? `/photos/${build.id}`);
    const percent = build.state === "building" && build.fraction !== null ? `, stage ${build.stages.length}: ${Math.round(100 * build.fraction)} %` : "";
    setText(item.querySelector("small"), `${WORDS[build.state] ?? build.state}${percent}`);
  }
  for (const avatar of state.avatars) {
    const item = entry($("avatars"), avatar.name, `#avatar/${encodeURIComponent(avatar.name)}`, kind === "avatar" && id === avatar.name);
    setText(item.querySelector("b"), avatar.name);
    setText(item.querySelector("small"), avatar.preset);
    item.querySelector(".picture").classList.add("front");
    picture(item, `/avatars/${encodeURIComponent(avatar.name)}/preview.png?${avatar.made}`);
  }
  prune($("builds"), builds.map((b) => b.id));
  prune($("avatars"), state.avatars.map((a) => a.name));
  $("none").hidden = state.avatars.length > 0;
  setText($("where"), `They are in the folder ${state.folder}.`);
  const running = state.builds.find((b) => b.state === "building");
  document.title = running ? `${running.stages.length ? running.stages.at(-1).name : "building"} - ${nameOf(running)} - avatarkit studio` : "avatarkit studio";
}

function picture(item, address) {
  const url = `url("${address}")`, shown = item.querySelector(".picture");
  if (shown.style.backgroundImage !== url) shown.style.backgroundImage = url;
}

function prune(held, keys) {
  for (const item of [...held.children]) if (!keys.includes(item.dataset.key)) item.remove();
  keys.forEach((key, k) => {
    const item = [...held.children].find((e) => e.dataset.key === key);
    if (held.children[k] !== item) held.insertBefore(item, held.children[k]);
  });
}

/** Tells screen readers what changed: states and stages, not each percent. */
function announce() {
  for (const build of state.builds) {
    const words = `${nameOf(build)}: ${build.state === "done" ? "finished" : WORDS[build.state]}${build.state === "building" ? `, stage ${build.stages.at(-1)?.name ?? ""}` : ""}`;
    if (said.get(build.id) !== words && said.has(build.id)) setText($("status"), words);
    said.set(build.id, words);
  }
}

// ------------------------------------------------------------------------------------------------------------- what users do

async function take(file, name) {
  const fail = (text) => ((context.trouble = text), go("#new"));
  if (state && file.size > state.most_bytes) return fail(`${name} is too large: a photo may have ${Math.round(state.most_bytes / 1e6)} MB.`);
  try {
    const { id } = await ask("/api/photos", "POST", file, { "X-Name": encodeURIComponent(name) });
    context.trouble = "";
    photos.set(id, URL.createObjectURL(file));
    await asking;
    await refresh();
    go(`#build/${id}`);
  } catch (error) {
    fail(error instanceof TypeError ? `${name} could not be sent to the studio. Try it again.` : error.message);
  }
}

const context = {
  trouble: "", // why the last photo was not taken in
  photos,
  most: () => state,
  refresh,
  take,
  sample: async () => {
    try {
      const { id } = await send("/api/sample");
      await asking;
      await refresh();
      go(`#build/${id}`);
    } catch (error) {
      context.trouble = error.message;
      render();
    }
  },
  camera: async () => {
    const photo = await fromCamera();
    if (photo) take(photo, "webcam.jpg");
  },
  remove: async (build) => {
    await ask(`/api/builds/${build.id}`, "DELETE").catch(() => {});
    state.builds = state.builds.filter((b) => b.id !== build.id);
    go("#new");
    URL.revokeObjectURL(photos.get(build.id));
    photos.delete(build.id);
    refresh();
  },
  sure: (avatar) => {
    $("sure-title").textContent = `Delete ${avatar.name}?`;
    $("sure-text").textContent = `The avatar in ${avatar.name}.avatar is deleted from the disk. Files of your own in that folder stay, and so do copies and exports that you downloaded.`;
    $("delete").onclick = async () => {
      $("delete").disabled = true;
      try {
        await ask(`/api/avatars/${encodeURIComponent(avatar.name)}`, "DELETE");
        $("sure").close();
        go("#new");
        setText($("status"), `${avatar.name} was deleted`);
        refresh();
      } catch (error) {
        $("sure-text").textContent = error.message;
      }
      $("delete").disabled = false;
    };
    $("sure").showModal();
  },
};

$("keep").addEventListener("click", () => $("sure").close());
addEventListener("hashchange", render);
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault(); // the browser would open the file instead of this page
  const file = event.dataTransfer?.files[0];
  if (file) take(file, file.name);
});
addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((f) => f.type.startsWith("image/"));
  if (file) take(file, file.name || "pasted.png");
});
refresh();
