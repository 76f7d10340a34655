/** The pages for machine owners, for operators, and for keys; `pages.ts` has the others. */
import { lazy } from "preact-iso";
import type { PageEntry } from "./routes.ts";

export const KEY_PAGES: PageEntry[] = [
  {
    path: "/keys",
    role: "client",
    nav: { group: "market", name: "API keys", icon: "key" },
    view: lazy(() => import("./views/keys.tsx")),
  },
];

export const MACHINE_PAGES: PageEntry[] = [
  {
    path: "/machine",
    role: "miner",
    nav: { group: "owner", name: "Machine", icon: "machine", bar: true },
    view: lazy(() => import("./views/owner/machine.tsx")),
  },
  {
    path: "/machine/models",
    role: "miner",
    nav: { group: "owner", name: "Services and settings", icon: "model" },
    view: lazy(() => import("./views/owner/models.tsx")),
  },
  {
    path: "/machine/earnings",
    role: "miner",
    nav: { group: "owner", name: "Earnings", icon: "earnings" },
    view: lazy(() => import("./views/owner/earnings.tsx")),
  },
  {
    path: "/machine/offers",
    role: "miner",
    nav: { group: "owner", name: "Own offers", icon: "market" },
    view: lazy(() => import("./views/owner/offers.tsx")),
  },
];

export const NETWORK_PAGES: PageEntry[] = [
  {
    path: "/network",
    role: "admin",
    nav: { group: "operator", name: "Network", icon: "overview" },
    view: lazy(() => import("./views/operator/network.tsx")),
  },
  {
    path: "/network/jobs",
    role: "admin",
    nav: { group: "operator", name: "Jobs of all accounts", icon: "jobs" },
    view: lazy(() => import("./views/operator/jobs.tsx")),
  },
  { path: "/network/jobs/:id", role: "admin", view: lazy(() => import("./views/operator/job.tsx")) },
  {
    path: "/network/miners",
    role: "admin",
    nav: { group: "operator", name: "Miners", icon: "gpu" },
    view: lazy(() => import("./views/operator/miners.tsx")),
  },
  {
    path: "/network/miners/:id",
    role: "admin",
    view: lazy(() => import("./views/operator/miner.tsx")),
  },
  {
    path: "/network/accounts",
    role: "admin",
    nav: { group: "operator", name: "Accounts", icon: "people" },
    view: lazy(() => import("./views/operator/accounts.tsx")),
  },
  {
    path: "/network/keys",
    role: "admin",
    nav: { group: "operator", name: "Keys and tokens", icon: "key" },
    view: lazy(() => import("./views/operator/keys.tsx")),
  },
  {
    path: "/network/offers",
    role: "admin",
    view: lazy(() => import("./views/operator/offers.tsx")),
  },
  {
    path: "/network/log",
    role: "admin",
    nav: { group: "operator", name: "Log", icon: "log" },
    view: lazy(() => import("./views/operator/log.tsx")),
  },
];
