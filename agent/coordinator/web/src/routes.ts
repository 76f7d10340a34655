/** The areas of the dashboard, its page list, and what the navigation shows of both. */
import type { ComponentType } from "preact";
import type { IconName } from "./components/icon.tsx";
import type { Role } from "./session.ts";

/** Where the coordinator serves the dashboard. */
export const BASE = "/dashboard";

/** The part of the dashboard that belongs to a role. */
export type Area = "client" | "machine" | "network";

/** In the order of the switch. `role` opens the area, whose first page is `home`. */
export const AREAS: Record<Area, { name: string; role: Role; home: string }> = {
  client: { name: "Client", role: "client", home: "/" },
  machine: { name: "Machine", role: "miner", home: "/machine" },
  network: { name: "Network", role: "admin", home: "/network" },
};

export interface PageEntry {
  /** Relative to BASE; `:name` is a parameter. */
  path: string;
  view: ComponentType;
  /** The role it requires; without one, the page needs no key. */
  role: Role | undefined;
  area: Area;
  /** Its navigation entry; pages without one are linked from other pages. */
  nav: NavEntry | undefined;
}

export interface NavEntry {
  name: string;
  icon: IconName;
  /** Opens the page after `g`. */
  letter: string;
  /** Also in the bottom bar on phones, which fits five entries. */
  bar: boolean;
}

/** Pages that share a title and have tabs between them; the navigation has an entry for the first. */
export interface TabLink {
  path: string;
  name: string;
}

export const EARNINGS: TabLink[] = [
  { path: "/machine/earnings", name: "Earnings" },
  { path: "/machine/payouts", name: "Payouts" },
];

export const ACCOUNTS: TabLink[] = [
  { path: "/network/accounts", name: "Accounts" },
  { path: "/network/keys", name: "Keys and tokens" },
  { path: "/network/trail", name: "Trail" },
];

const JOINED = [EARNINGS, ACCOUNTS];

/** Return the address of a page below BASE, without a slash at its end. */
function pathIn(address: string): string {
  return address.replace(/\/$/, "").slice(BASE.length) || "/";
}

function isBelow(path: string, parent: string): boolean {
  return path === parent || path.startsWith(`${parent}/`);
}

/** Return the areas of a session with these roles. */
export function areasOf(roles: Role[]): Area[] {
  return (Object.keys(AREAS) as Area[]).filter((area) => roles.includes(AREAS[area].role));
}

/** Return the area that an address belongs to, or the first of the session's areas if it is none of them. */
export function areaOf(address: string, roles: Role[]): Area | undefined {
  const path = pathIn(address);
  const own = areasOf(roles);
  const area = (["machine", "network"] as const).find((area) => isBelow(path, AREAS[area].home));
  return own.includes(area ?? "client") ? (area ?? "client") : own[0];
}

/** Return the navigation page that an address belongs to: the one with the longest matching path prefix. */
export function currentPage(address: string, pages: PageEntry[]): PageEntry | undefined {
  const here = pathIn(address);
  const path = JOINED.find((tabs) => tabs.some((tab) => tab.path === here))?.[0]?.path ?? here;
  return pages
    .filter((page) => (page.path === "/" ? path === "/" : isBelow(path, page.path)))
    .sort((page, other) => other.path.length - page.path.length)[0];
}
