// What a page that embeds this one may ask by postMessage: { avatarkit: "speak", id, arguments: [...] }.

const ALLOWED = ["play", "pause", "speak", "hush", "mute", "look", "express", "turn", "background"]; // no microphone, no pictures

/** Answers { avatarkit: "done" or "failed", id } to the page that asked, and says when it can be asked. */
export function answerMessages(api) {
  window.addEventListener("message", async ({ data, source, origin }) => {
    if (!source || source === window || typeof data !== "object" || !ALLOWED.includes(data?.avatarkit)) return;
    const answer = (kind, more = {}) =>
      source.postMessage({ avatarkit: kind, id: data.id ?? null, ...more }, { targetOrigin: origin === "null" ? "*" : origin });
    try {
      await api[data.avatarkit](...(Array.isArray(data.arguments) ? data.arguments : []));
      answer("done");
    } catch (error) {
      answer("failed", { message: String(error.message ?? error) });
    }
  });
  if (window.parent !== window) window.parent.postMessage({ avatarkit: "ready", motions: api.motions, visemes: api.visemes }, "*");
}
