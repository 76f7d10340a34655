/** The entries of the page list and of the navigation. */
import type { ComponentType } from "preact";
import type { IconName } from "./components/icon.tsx";
import type { Role } from "./session.ts";

/** Where the coordinator serves the dashboard. */
export const BASE = "/dashboard";

export interface PageEntry {
  /** Relative to BASE; `:name` is a parameter. */
  path: string;
  view: ComponentType;
  /** The role it requires; without one, the page needs no key. */
  role: Role | undefined;
  /** Its navigation entry; pages without one are linked from other pages. */
  nav: NavEntry | undefined;
}

export interface NavEntry {
  group: NavGroup;
  name: string;
  icon: IconName;
  /** Also shown in the bottom bar on phones, which fits four entries. */
  bar: boolean;
}

export type NavGroup = "work" | "market" | "owner" | "operator";

/** Headings of the navigation, in display order. */
export const GROUPS: Record<NavGroup, string> = {
  work: "Jobs",
  market: "Money and receipts",
  owner: "Your machine",
  operator: "Network",
};
