// Headless Chromium for the tests: opens a page, notes console errors and network requests.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
  "--disable-sync", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--use-fake-ui-for-media-stream",
  "--use-fake-device-for-media-stream",
];

/** Calls `work(page)` on a page; returns what it returns with `errors` and `requests` that left the page. */
export async function onPage(address, { width = 1280, height = 800, mobile = false, dark = false, seconds = 240 }, work) {
  const folder = mkdtempSync(join(tmpdir(), "avatarkit-browser-"));
  const context = await chromium.launchPersistentContext(folder, {
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    headless: true,
    args: FLAGS,
    viewport: { width, height },
    isMobile: mobile,
    hasTouch: mobile,
    colorScheme: dark ? "dark" : "light",
    reducedMotion: "reduce",
  });
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(1000 * seconds);
    const errors = [], requests = [];
    page.on("console", (m) => m.type() === "error" && errors.push(m.text()));
    page.on("pageerror", (e) => errors.push(String(e)));
    page.on("request", (r) => !/^(blob|data):/.test(r.url()) && r.url() !== address && requests.push(r.url()));
    await page.goto(address);
    return { result: await work(page), errors, requests };
  } finally {
    await context.close();
    rmSync(folder, { recursive: true, force: true });
  }
}
