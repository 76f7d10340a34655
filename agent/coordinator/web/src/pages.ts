/**
 * All pages: path, required role and navigation entry. A page's script is loaded on the first visit.
 *
 * To add a page, add a file whose default export is its component (starting with <Page title=...>), and a line here. A feature's pages, and
 * its parts of other pages, are in features/NAME, in files that begin with the pages that they belong to: client, job, owner, operator.
 * All other pages are in views/.
 */
import type { ComponentType } from "preact";
import { lazy } from "preact-iso";
import type { IconName } from "./components/icon.tsx";
import type { NavGroup, PageEntry } from "./routes.ts";
import type { Role } from "./session.ts";

/** A page; with a name and an icon, it is in the navigation, and with `bar` also in the bottom bar on phones. */
type Declared = [
  path: string,
  load: () => Promise<{ default: ComponentType }>,
  name?: string,
  icon?: IconName,
  bar?: boolean,
];

/** Return the pages of a role in a group of the navigation. */
function pages(group: NavGroup, role: Role | undefined, declared: Declared[]): PageEntry[] {
  return declared.map(([path, load, name, icon, bar = false]) => ({
    path,
    role,
    nav: name && icon ? { group, name, icon, bar } : undefined,
    view: lazy(load),
  }));
}

export const PAGES: PageEntry[] = [
  ...pages("work", "client", [
    ["/", () => import("./views/overview.tsx"), "Overview", "overview", true],
    ["/jobs", () => import("./views/jobs.tsx"), "Jobs", "jobs", true],
    ["/jobs/:id", () => import("./views/job/job.tsx")],
    ["/new", () => import("./views/new/choose.tsx"), "New job", "add", true],
    ["/new/:service", () => import("./views/new/form.tsx")],
    ["/chat", () => import("./views/chat/chat.tsx"), "Chat", "chat"],
  ]),
  ...pages("market", "client", [
    ["/wallet", () => import("./views/wallet.tsx"), "Wallet", "wallet", true],
    ["/market", () => import("./features/offers/client.tsx"), "Marketplace", "market"],
  ]),
  ...pages("market", undefined, [
    ["/verify", () => import("./views/verify.tsx"), "Verify a receipt", "verify"],
  ]),
  ...pages("market", "client", [["/keys", () => import("./views/keys.tsx"), "API keys", "key"]]),
  ...pages("owner", "miner", [
    ["/machine", () => import("./views/owner/machine.tsx"), "Machine", "machine", true],
    ["/machine/models", () => import("./views/owner/models.tsx"), "Services and settings", "model"],
    ["/machine/earnings", () => import("./views/owner/earnings.tsx"), "Earnings", "earnings"],
    ["/machine/payouts", () => import("./features/payouts/owner.tsx"), "Payouts", "wallet"],
    ["/machine/audits", () => import("./features/audits/owner.tsx"), "Audits", "verify"],
    ["/machine/offers", () => import("./features/offers/owner.tsx"), "Own offers", "market"],
  ]),
  ...pages("operator", "admin", [
    ["/network", () => import("./views/operator/network.tsx"), "Network", "overview"],
    ["/network/jobs", () => import("./views/operator/jobs.tsx"), "Jobs of all accounts", "jobs"],
    ["/network/jobs/:id", () => import("./views/operator/job.tsx")],
    ["/network/miners", () => import("./views/operator/miners.tsx"), "Miners", "gpu"],
    ["/network/miners/:id", () => import("./views/operator/miner.tsx")],
    ["/network/accounts", () => import("./views/operator/accounts.tsx"), "Accounts", "people"],
    ["/network/audits", () => import("./features/audits/operator.tsx"), "Audits", "verify"],
    ["/network/audits/:id", () => import("./features/audits/operator_audit.tsx")],
    ["/network/payouts", () => import("./features/payouts/operator.tsx"), "Payouts", "wallet"],
    ["/network/payouts/:id", () => import("./features/payouts/operator_batch.tsx")],
    ["/network/keys", () => import("./views/operator/keys.tsx"), "Keys and tokens", "key"],
    ["/network/offers", () => import("./features/offers/operator.tsx")],
    ["/network/log", () => import("./views/operator/log.tsx"), "Log", "log"],
  ]),
];
