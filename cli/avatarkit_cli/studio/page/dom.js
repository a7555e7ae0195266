// Elements, and requests to the studio.

export const $ = (id) => document.getElementById(id);

/** Returns an element: properties and attributes by name, `on` for listeners, then children. */
export function make(tag, { on = {}, ...properties } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const button = (text, listener, className = "") =>
  make("button", { type: "button", textContent: text, className, on: { click: listener } });

/** Sets what is shown only where it changed, so that screen readers and selections are left alone. */
export const setText = (element, text) => element.textContent !== text && (element.textContent = text);

const token = document.querySelector("meta[name=token]").content;

/** Returns the answer as JSON; throws an error with a sentence for the user. */
export async function ask(path, method = "GET", body = undefined, headers = {}) {
  const sent = method === "GET" ? {} : { "X-Avatarkit-Token": token, ...headers };
  const answer = await fetch(path, { method, headers: sent, body, cache: "no-store" });
  if (answer.ok) return answer.json();
  if (answer.status === 403) throw new Error("The studio was started again. Reload this page.");
  if (answer.status === 413) throw new Error("The file is too large.");
  const text = await answer.text();
  let said = null;
  try {
    said = JSON.parse(text).error;
  } catch {
    // an answer in plain text
  }
  throw new Error(said || `The studio refused it (${text.trim()}).`);
}

export const send = (path, data = {}) => ask(path, "POST", JSON.stringify(data));

export const seconds = (value) => {
  const whole = Math.round(value);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
};
