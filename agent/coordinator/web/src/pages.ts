/**
 * All pages: where they are, who sees them, and where they stand in the navigation. A page's script is loaded when it is visited.
 *
 * A new page is a file in views/ whose default export is its component (which begins with <Page title=...>), and a line here.
 */
import type { ComponentType } from "preact";
import { lazy } from "preact-iso";
import type { IconName } from "./components/icon.tsx";
import { KEY_PAGES, MACHINE_PAGES, NETWORK_PAGES } from "./pages_machines.ts";
import type { Role } from "./session.ts";

/** Where the coordinator serves the dashboard. */
export const BASE = "/dashboard";

export interface PageEntry {
  /** Below BASE; `:name` is a parameter. */
  path: string;
  view: ComponentType;
  /** Whose key it needs; pages without one are open to everybody. */
  role?: Role;
  /** Its place in the navigation; pages without one are reached from others. */
  nav?: NavPlace;
}

export interface NavPlace {
  group: NavGroup;
  name: string;
  icon: IconName;
  /** Also in the bar of phones, which has room for four. */
  bar?: boolean;
}

export type NavGroup = "work" | "market" | "owner" | "operator";

/** Headings of the navigation, in its order. */
export const GROUPS: Record<NavGroup, string> = {
  work: "Jobs",
  market: "Money and proof",
  owner: "Your machine",
  operator: "Network",
};

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
    view: lazy(() => import("./views/chat.tsx")),
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
    view: lazy(() => import("./views/market.tsx")),
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
