import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
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

/** The font files that every page needs first. */
const FIRST_FONTS = /plex-(sans-latin-(400|600)|mono-latin-400)-normal/;

/** Preloads the fonts that pages begin with, and adds the fonts' licence, which they must be accompanied by. */
const fonts: Plugin = {
  name: "fonts",
  apply: "build",
  generateBundle() {
    const source = readFileSync(
      fileURLToPath(import.meta.resolve("@fontsource/ibm-plex-sans/LICENSE")),
      "utf8",
    );
    this.emitFile({ type: "asset", fileName: "assets/ibm-plex-license.txt", source });
  },
  transformIndexHtml: {
    order: "post",
    handler: (_, { bundle = {} }) =>
      Object.keys(bundle)
        .filter((file) => FIRST_FONTS.test(file))
        .map((file) => ({
          tag: "link",
          attrs: {
            rel: "preload",
            as: "font",
            type: "font/woff2",
            crossorigin: true,
            href: `/dashboard/${file}`,
          },
          injectTo: "head" as const,
        })),
  },
};

export default defineConfig(({ command }) => ({
  base: "/dashboard/",
  plugins: [plainImports, withoutDownloads, fonts],
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
              test: /src\/(commands\/(?=shortcuts|opened)|components\/(?!controls\/(older|checks))|features\/waits\/parts|format\/)|src\/(?!verifying)[a-z_]+\.tsx?$|sdk\/js\/dist\/(?!http\/(resumable|direct)|sealed\/(?!usual_memory|memory\.)|verification\/(?!bundle|shape))|node_modules\/(?!streaming|hpke|@noble\/ed25519)/,
              priority: 1,
            },
            { name: "sealed", test: /src\/features\/sealing\/keys|sdk\/js\/dist\/sealed|node_modules\/hpke/ },
            {
              name: "verification",
              test: /src\/verifying|sdk\/js\/dist\/verification\/(?!conclusions)|@noble\/ed25519/,
              priority: 1,
            },
            // What pages of several roles consist of, besides the components.
            {
              name: "parts",
              test: /src\/(features\/(audits|payouts)\/parts|components\/controls\/(older|checks)|views\/(job_table|slowed|new\/(tiles|availability)))|verification\/conclusions/,
            },
            { name: "keys", test: /src\/views\/keys\.tsx/ },
            { name: "answer", test: /src\/(results\/|views\/job\/progress)|streaming-markdown/ },
            { name: "job", test: /src\/(views\/(job|new)\/|schema\/|features\/[a-z]+\/job)/ },
            // Pages of operators that show what clients and owners see.
            { name: "inspection", test: /src\/views\/operator\/job\.tsx/ },
            { name: "miner", test: /src\/(views\/operator\/miner\.tsx|features\/offers\/operator)/ },
            { name: "commands", test: /src\/commands\/(?!shortcuts|opened)/ },
            {
              name: "client",
              test: /src\/(views\/([a-z_]+\.tsx|new\/(choose|tiles))|features\/[a-z]+\/client)/,
            },
            { name: "owner", test: /src\/(views\/owner\/|features\/[a-z]+\/owner)/ },
            { name: "operator", test: /src\/(views\/operator\/|features\/[a-z]+\/operator)/ },
          ],
        },
      },
    },
  },
  server: { proxy: { "/v1": { target: coordinator, ws: true } } },
}));
