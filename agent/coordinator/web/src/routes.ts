/** Where pages are, and how they stand in the navigation. */
import type { ComponentType } from "preact";
import type { IconName } from "./components/icon.tsx";
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
