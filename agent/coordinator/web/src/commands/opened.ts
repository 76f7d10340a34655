/** What the keyboard opens: the command menu, the list of shortcuts, and pages by a letter. */
import { PAGES } from "../pages.ts";
import type { Area, PageEntry } from "../routes.ts";
import type { Role } from "../session.ts";
import { Store } from "../store.ts";

export const MAC = /Mac|iPhone|iPad/.test(navigator.userAgent);
/** Opens the command menu. */
export const SHORTCUT = MAC ? "\u2318 K" : "Ctrl K";

export const opened = new Store<"menu" | "shortcuts" | null>(null);

export function openCommands(): void {
  opened.value = "menu";
}

/** Return the pages of the navigation that these roles may open, those of the area first. */
export function pagesFor(roles: Role[], here: Area | undefined): PageEntry[] {
  const pages = PAGES.filter((page) => page.nav && (!page.role || roles.includes(page.role)));
  return [...pages.filter((page) => page.area === here), ...pages.filter((page) => page.area !== here)];
}

/** Return the page that `g` and a letter open: that of this area, otherwise the first with the letter. */
export function pageOfLetter(letter: string, roles: Role[], here: Area | undefined): PageEntry | undefined {
  return pagesFor(roles, here).find((page) => page.nav?.letter === letter);
}
