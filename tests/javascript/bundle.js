// Bundles @aitbc/client for a page: a directory of ES modules whose entry is client.js.
//
//   node bundle.js DIRECTORY
import { fileURLToPath } from "node:url";
import { build } from "vite";

await build({
  configFile: false,
  logLevel: "error",
  build: {
    target: "es2022",
    outDir: process.argv[2],
    emptyOutDir: true,
    lib: {
      entry: fileURLToPath(import.meta.resolve("@aitbc/client")),
      formats: ["es"],
      fileName: () => "client.js",
    },
  },
});
