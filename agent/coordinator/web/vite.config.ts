import { defineConfig } from "vite";

/** A coordinator to work against while writing the dashboard: AITBC_DASHBOARD_API=http://127.0.0.1:8420 npx vite */
const coordinator = process.env.AITBC_DASHBOARD_API ?? "http://127.0.0.1:8420";

export default defineConfig({
  base: "/dashboard/",
  build: {
    target: "es2022",
    // light-dark() and nesting are left as they are: these browsers know them.
    cssTarget: ["chrome123", "firefox128", "safari17.5"],
    outDir: "dist",
    emptyOutDir: true,
    // There is one sheet of styles and one file that all pages share, so nothing has to be looked up before a page is loaded.
    modulePreload: false,
    cssCodeSplit: false,
    // Nothing is put into the page as a data: address: the policy of the page allows none.
    assetsInlineLimit: 0,
    rolldownOptions: {
      output: {
        // Left alone, each component that two pages share becomes a file of its own, with the imports that this takes.
        codeSplitting: {
          groups: [
            {
              name: "shared",
              test: /src\/(components|format)\/|src\/[a-z_]+\.tsx?$|sdk\/js\/dist\/(?!http\/resumable)|node_modules/,
              priority: 1,
            },
            { name: "machines", test: /src\/views\/(owner|operator)\// },
          ],
        },
      },
    },
  },
  server: { proxy: { "/v1": { target: coordinator, ws: true } } },
});
