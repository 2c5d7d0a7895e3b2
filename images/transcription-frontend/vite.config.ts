import { defineConfig } from "vite";

export default defineConfig({
  base: "./", // below whichever path a reverse proxy serves it
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: { target: "es2022", sourcemap: false, reportCompressedSize: false, modulePreload: { polyfill: false } },
  server: { proxy: { "/v1": "http://127.0.0.1:8090" } },
});
