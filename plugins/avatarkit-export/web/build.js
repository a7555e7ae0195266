// Packs what Vite built for the Python package: the script, compressed, and from what it was built.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const page = new URL("../avatarkit_export/page/", import.meta.url);
const hash = createHash("sha256");
for (const name of ["package.json", "vite.config.js", ...readdirSync("src").sort().map((f) => `src/${f}`)]) {
  hash.update(name).update("\0").update(readFileSync(name)).update("\0");
}
const version = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version;
const notices = ["three", "@sparkjsdev/spark", "fflate"].map(
  (name) => `${name} ${version(name)}\n\n${readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim()}\n`,
);
const head = "avatarkit's page contains, beside avatarkit's own code (Apache-2.0), these libraries:\n\n";
writeFileSync(new URL("NOTICES.txt", page), head + notices.join(`\n${"-".repeat(80)}\n\n`));
writeFileSync(new URL("app.js.gz", page), gzipSync(readFileSync("dist/app.js"), { level: 9 }));
const built = { sources: hash.digest("hex"), three: version("three"), spark: version("@sparkjsdev/spark") };
writeFileSync(new URL("build.json", page), `${JSON.stringify(built, null, 2)}\n`);
