// What Khronos' validator says of the files that the arguments name, as JSON: name -> {errors, warnings, messages}.

import { readFileSync } from "node:fs";

import validator from "gltf-validator";

const found = {};
for (const file of process.argv.slice(2)) {
  const { issues } = await validator.validateBytes(new Uint8Array(readFileSync(file)), { format: "glb", maxIssues: 200 });
  const messages = issues.messages.filter((m) => m.severity < 2).map((m) => `${m.code} ${m.pointer}: ${m.message}`);
  found[file] = { errors: issues.numErrors, warnings: issues.numWarnings, messages };
}
console.log(JSON.stringify(found));
