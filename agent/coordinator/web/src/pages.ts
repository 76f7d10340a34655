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
import { AREAS, type Area, type PageEntry } from "./routes.ts";

/** A page; with a name, an icon and a letter, it is in the navigation, and with `bar` also in the bottom bar on phones. */
type Declared = [
  path: string,
  load: () => Promise<{ default: ComponentType }>,
  name?: string,
  icon?: IconName,
  letter?: string,
  bar?: boolean,
];

/** Return the pages of an area, which need its role unless anyone may open them. */
function pages(area: Area, declared: Declared[], { open = false } = {}): PageEntry[] {
  return declared.map(([path, load, name, icon, letter = "", bar = false]) => ({
    path,
    role: open ? undefined : AREAS[area].role,
    area,
    nav: name && icon ? { name, icon, letter, bar } : undefined,
    view: lazy(load),
  }));
}

/** The page that submits a job; the navigation shows it as a button. */
export const NEW_JOB = "/new";

export const PAGES: PageEntry[] = [
  ...pages("client", [
    ["/", () => import("./views/overview.tsx"), "Home", "home", "h", true],
    ["/jobs", () => import("./views/jobs.tsx"), "Jobs", "jobs", "j", true],
    ["/jobs/:id", () => import("./views/job/job.tsx")],
    [NEW_JOB, () => import("./views/new/choose.tsx"), "New job", "add", "n", true],
    ["/new/:service", () => import("./views/new/form.tsx")],
    ["/chat", () => import("./views/chat/chat.tsx"), "Chat", "chat", "c", true],
    ["/market", () => import("./features/offers/client.tsx"), "Prices", "market", "p"],
    ["/wallet", () => import("./views/wallet.tsx"), "Wallet", "wallet", "w", true],
  ]),
  ...pages(
    "client",
    [
      // Anyone may verify a receipt.
      ["/verify", () => import("./views/verify.tsx"), "Receipts", "verify", "r"],
      ["/style", () => import("./style/style.tsx")],
    ],
    { open: true },
  ),
  ...pages("client", [["/keys", () => import("./views/keys.tsx"), "API keys", "key", "k"]]),
  ...pages("machine", [
    ["/machine", () => import("./views/owner/machine.tsx"), "Overview", "machine", "m", true],
    ["/machine/models", () => import("./views/owner/models.tsx"), "Services", "model", "s", true],
    ["/machine/earnings", () => import("./views/owner/earnings.tsx"), "Earnings", "earnings", "e", true],
    ["/machine/payouts", () => import("./features/payouts/owner.tsx")],
    ["/machine/offers", () => import("./features/offers/owner.tsx"), "Offers", "market", "o", true],
    ["/machine/audits", () => import("./features/audits/owner.tsx"), "Audits", "verify", "t", true],
  ]),
  ...pages("network", [
    ["/network", () => import("./views/operator/network.tsx"), "Overview", "overview", "n", true],
    ["/network/jobs", () => import("./views/operator/jobs.tsx"), "Jobs", "jobs", "j", true],
    ["/network/jobs/:id", () => import("./views/operator/job.tsx")],
    ["/network/miners", () => import("./views/operator/miners.tsx"), "Miners", "gpu", "i", true],
    ["/network/miners/:id", () => import("./views/operator/miner.tsx")],
    ["/network/accounts", () => import("./views/operator/accounts.tsx"), "Accounts", "people", "u", true],
    ["/network/keys", () => import("./views/operator/keys.tsx")],
    ["/network/trail", () => import("./features/trail/operator.tsx")],
    ["/network/payouts", () => import("./features/payouts/operator.tsx"), "Payouts", "wallet", "y", true],
    ["/network/payouts/:id", () => import("./features/payouts/operator_batch.tsx")],
    ["/network/audits", () => import("./features/audits/operator.tsx"), "Audits", "verify", "t"],
    ["/network/audits/:id", () => import("./features/audits/operator_audit.tsx")],
    ["/network/offers", () => import("./features/offers/operator.tsx")],
    ["/network/log", () => import("./views/operator/log.tsx"), "Log", "log", "l"],
  ]),
];
