/**
 * All pages: path, required role and navigation entry. A page's script is loaded on the first visit.
 *
 * To add a page, add a file in views/ whose default export is its component (starting with <Page title=...>), and an entry here.
 */
import { lazy } from "preact-iso";
import { KEY_PAGES, MACHINE_PAGES, NETWORK_PAGES } from "./pages_machines.ts";
import type { PageEntry } from "./routes.ts";

export const PAGES: PageEntry[] = [
  {
    path: "/",
    role: "client",
    nav: { group: "work", name: "Overview", icon: "overview", bar: true },
    view: lazy(() => import("./views/overview.tsx")),
  },
  {
    path: "/jobs",
    role: "client",
    nav: { group: "work", name: "Jobs", icon: "jobs", bar: true },
    view: lazy(() => import("./views/jobs.tsx")),
  },
  { path: "/jobs/:id", role: "client", view: lazy(() => import("./views/job/job.tsx")) },
  {
    path: "/new",
    role: "client",
    nav: { group: "work", name: "New job", icon: "add", bar: true },
    view: lazy(() => import("./views/new/choose.tsx")),
  },
  { path: "/new/:service", role: "client", view: lazy(() => import("./views/new/form.tsx")) },
  {
    path: "/chat",
    role: "client",
    nav: { group: "work", name: "Chat", icon: "chat" },
    view: lazy(() => import("./views/chat/chat.tsx")),
  },
  {
    path: "/wallet",
    role: "client",
    nav: { group: "market", name: "Wallet", icon: "wallet", bar: true },
    view: lazy(() => import("./views/wallet.tsx")),
  },
  {
    path: "/market",
    role: "client",
    nav: { group: "market", name: "Marketplace", icon: "market" },
    view: lazy(() => import("./views/market/market.tsx")),
  },
  {
    path: "/verify",
    nav: { group: "market", name: "Verify a receipt", icon: "verify" },
    view: lazy(() => import("./views/verify.tsx")),
  },
  ...KEY_PAGES,
  ...MACHINE_PAGES,
  ...NETWORK_PAGES,
];
