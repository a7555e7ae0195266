// One classic script: modules do not load from file:// addresses, so the page carries everything inside.
import { defineConfig } from "vite";

export default defineConfig({
  build: {
    target: "es2022",
    outDir: "dist",
    chunkSizeWarningLimit: 6000,
    lib: { entry: "src/main.js", formats: ["iife"], name: "avatarkitPage", fileName: () => "app.js" },
  },
});
