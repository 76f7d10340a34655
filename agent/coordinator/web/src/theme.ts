/** The colour theme: the system's, light or dark. */
import { Store } from "./store.ts";

export type Theme = "auto" | "light" | "dark";

const KEY = "aitbc.theme";
const NEXT: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };

function stored(): Theme {
  const value = localStorage.getItem(KEY);
  return value === "light" || value === "dark" ? value : "auto";
}

export const theme = new Store(stored());

/** Apply the theme. */
export function applyTheme(): void {
  if (theme.value === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.value;
}

/** Choose a theme, and remember it in this browser. */
export function setTheme(chosen: Theme): void {
  theme.value = chosen;
  localStorage.setItem(KEY, chosen);
  applyTheme();
}

/** Switch from system to light to dark and back. */
export function nextTheme(): void {
  setTheme(NEXT[theme.value]);
}
