import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { defineConfig } from "vite";

const license = createRequire(import.meta.url).resolve("swagger-ui-dist/LICENSE");

/** The API reference is a page of its own, so that the dashboard loads none of its scripts. */
export default defineConfig({
  root: import.meta.dirname,
  base: "/reference/",
  build: {
    target: "es2022",
    outDir: "../dist/reference",
    emptyOutDir: true,
    modulePreload: false,
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 2000,
  },
  plugins: [
    {
      name: "license",
      generateBundle() {
        this.emitFile({ type: "asset", fileName: "swagger-ui-license.txt", source: readFileSync(license) });
      },
    },
  ],
});
