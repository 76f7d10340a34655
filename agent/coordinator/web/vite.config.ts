import { defineConfig } from "vite";

export default defineConfig({
  base: "/dashboard/",
  build: { target: "es2022", outDir: "dist", emptyOutDir: true },
});
