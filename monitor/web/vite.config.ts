/** Builds the monitor's page into dist/monitor/web: one script, one style, no request to anywhere else at run time. */
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: here("."),
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: here("../../dist/monitor/web"),
    emptyOutDir: true,
    target: "es2022",
    // Inlined assets would be data: URLs, which the page's policy forbids for anything but images.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
});
