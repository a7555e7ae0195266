// Serves one page, one file and what npm installed, on this machine only, while a test looks at the page.

import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";

const modules = new URL("../node_modules/", import.meta.url);

/** Returns the server, whose `url` shows `page`; `name` is the path of `file` there. */
export async function serve(page, name, file) {
  const server = createServer((request, response) => {
    const path = new URL(request.url, "http://x").pathname;
    if (path === "/") return response.setHeader("Content-Type", "text/html").end(page);
    const local = path === name ? file : new URL(`.${path}`, modules);
    if (!existsSync(local)) return response.writeHead(404).end();
    response.setHeader("Content-Type", /\.m?js$/.test(path) ? "text/javascript" : "application/octet-stream");
    createReadStream(local).pipe(response);
  }).listen(0, "127.0.0.1");
  await new Promise((done) => server.on("listening", done));
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}
