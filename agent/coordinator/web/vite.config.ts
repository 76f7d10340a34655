import { defineConfig, type Plugin } from "vite";

/** The coordinator that the development server uses: AITBC_DASHBOARD_API=http://127.0.0.1:8420 npx vite */
const coordinator = process.env.AITBC_DASHBOARD_API ?? "http://127.0.0.1:8420";

/** Loads pages without Vite's helper, which would preload further scripts and styles: there are none to preload. */
const plainImports: Plugin = {
  name: "plain-imports",
  enforce: "pre",
  load: (id) =>
    id.endsWith("vite/preload-helper.js") ? "export const __vitePreload = (load) => load();" : undefined,
};

/** Leaves out the SDK's downloads into files: pages link to files instead, so that the browser downloads them itself. */
const withoutDownloads: Plugin = {
  name: "without-downloads",
  enforce: "pre",
  load: (id) =>
    /sdk\/js\/dist\/(http\/download_to|sealed\/download)\.js$/.test(id)
      ? "export const downloadTo = undefined, openTo = undefined;"
      : undefined,
};

export default defineConfig(({ command }) => ({
  base: "/dashboard/",
  plugins: [plainImports, withoutDownloads],
  // Leaves out the SDK's code for Node, in which the tests run.
  define: command === "build" ? { "globalThis.process": "undefined" } : {},
  // The calls of the classic runtime are shorter: children are arguments, not properties.
  oxc: {
    jsx: { runtime: "classic", pragma: "h", pragmaFrag: "Fragment" },
    jsxInject: 'import { Fragment, h } from "preact";',
  },
  build: {
    target: "es2022",
    // These browsers support light-dark() and nesting, which therefore stay as written.
    cssTarget: ["chrome123", "firefox128", "safari17.5"],
    outDir: "dist",
    emptyOutDir: true,
    // All pages share one style sheet and one script, so preloading modules gains nothing.
    modulePreload: false,
    cssCodeSplit: false,
    // The Content Security Policy does not allow data: URLs, so no assets are inlined.
    assetsInlineLimit: 0,
    rolldownOptions: {
      // Imported by the SDK only where there is no WebSocket.
      external: ["ws"],
      output: {
        minify: { compress: { dropConsole: true } },
        // Without these groups, each component that two pages share becomes a separate file.
        codeSplitting: {
          groups: [
            {
              name: "shared",
              test: /src\/(components\/(?!controls\/older)|features\/waits\/parts|format\/)|src\/[a-z_]+\.tsx?$|sdk\/js\/dist\/(?!http\/(resumable|direct)|sealed\/(?!usual_memory|memory\.)|verification\/leaves\/(payouts|verdict))|node_modules\/(?!streaming|hpke)/,
              priority: 1,
            },
            { name: "sealed", test: /src\/features\/sealing\/keys|sdk\/js\/dist\/sealed|node_modules\/hpke/ },
            {
              name: "trust",
              test: /src\/(features\/(audits|payouts)\/parts|components\/controls\/older)|verification\/leaves\/(payouts|verdict)/,
            },
            { name: "answer", test: /src\/results\/|streaming-markdown/ },
            { name: "owner", test: /src\/(views\/owner\/|features\/[a-z]+\/owner)/ },
            { name: "operator", test: /src\/(views\/operator\/|features\/[a-z]+\/operator)/ },
            {
              name: "client",
              test: /src\/(views\/([a-z_]+\.tsx|new\/(choose|tiles))|features\/[a-z]+\/client)/,
            },
            { name: "job", test: /src\/(views\/(job|new)\/|schema\/|features\/[a-z]+\/job)/ },
          ],
        },
      },
    },
  },
  server: { proxy: { "/v1": { target: coordinator, ws: true } } },
}));
