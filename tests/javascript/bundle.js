// Bundles @aitbc/client as a page gets it: one directory of ES modules, begun at client.js.
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
