// Plays the steps that stdin names on a page and prints what came of it, as JSON:
// {address, width, height, mobile, dark, seconds, steps: [["eval", code] | ["click", selector] | ["set", selector, value] |
// ["key", selector, key] | ["picture", file, width, height] | ["screenshot", file, whole page?] | ["wait", selector] |
// ["fill", selector, text] | ["files", selector, file] | ["download", selector, file] | ["reload"]]}

import { readFileSync, writeFileSync } from "node:fs";

import { onPage } from "./browser.js";

const job = JSON.parse(readFileSync(0, "utf8"));
const actions = {
  eval: (page, code) => page.evaluate(code),
  click: (page, selector) => page.click(selector),
  key: (page, selector, key) => page.press(selector, key),
  set: (page, selector, value) =>
    page.$eval(selector, (e, v) => ((e.value = v), e.dispatchEvent(new Event("input", { bubbles: true }))), value),
  picture: async (page, file, width, height) => {
    const url = await page.evaluate(([w, h]) => window.avatarkit.picture(w, h), [width, height]);
    writeFileSync(file, Buffer.from(url.split(",")[1], "base64"));
  },
  screenshot: (page, file, whole) => page.screenshot({ path: file, fullPage: Boolean(whole) }).then(() => null),
  wait: (page, selector) => page.waitForSelector(selector).then(() => null),
  fill: (page, selector, text) => page.fill(selector, text),
  files: (page, selector, file) => page.setInputFiles(selector, file),
  download: async (page, selector, file) => {
    const [download] = await Promise.all([page.waitForEvent("download"), page.click(selector)]);
    await download.saveAs(file);
    return download.suggestedFilename();
  },
  reload: (page) => page.reload().then(() => null),
};
const done = await onPage(job.address, job, async (page) => {
  const results = [];
  for (const [action, ...values] of job.steps) results.push((await actions[action](page, ...values)) ?? null);
  return results;
});
console.log(JSON.stringify(done));
