/**
 * Keyboard shortcuts, and what they open: the command menu and the list of shortcuts.
 *
 *   Ctrl-K or Command-K   the command menu, also in text fields
 *   ?  n  /  g and a letter   see `menu.tsx`; not in text fields, and not while a dialog is open
 */
import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { useLocation } from "preact-iso";
import { complain } from "../components/toast.tsx";
import { NEW_JOB } from "../pages.ts";
import { areaOf, BASE } from "../routes.ts";
import { useRoles } from "../session.ts";
import { useValue } from "../store.ts";
import { MAC, openCommands, opened, pageOfLetter } from "./opened.ts";

/** How long the letter after `g` may take. */
const LETTER_MS = 1500;

/** Listens to the keyboard, and shows what it opened. The scripts of these dialogs are loaded when they are needed. */
export function Commands() {
  const state = useValue(opened);
  const roles = useRoles();
  const { path, route } = useLocation();
  const [Shown, setShown] = useState<ComponentType<{ show: "menu" | "shortcuts" }>>();
  useEffect(() => {
    if (state && !Shown) {
      import("./menu.tsx").then((menu) => setShown(() => menu.default)).catch(complain);
    }
  }, [state, Shown]);
  useEffect(() => {
    if (roles.length === 0) return;
    const here = areaOf(path, roles);
    let pressed = 0;
    // What a letter does now; undefined if it has no meaning.
    const meaning = (key: string): (() => void) | undefined => {
      if (Date.now() - pressed < LETTER_MS) {
        const page = pageOfLetter(key, roles, here);
        return page && (() => route(BASE + page.path));
      }
      const meanings: Record<string, () => void> = {
        g: () => {
          pressed = Date.now();
        },
        n: () => route(BASE + (roles.includes("client") ? NEW_JOB : "")),
        "?": () => {
          opened.value = "shortcuts";
        },
        "/": focusSearch,
      };
      return meanings[key];
    };
    const follow = (event: KeyboardEvent) => {
      const letter = isPlain(event) ? meaning(event.key) : undefined;
      const act = opensMenu(event) ? toggleMenu : letter;
      if (event.key !== "g") pressed = 0;
      if (!act) return;
      event.preventDefault();
      act();
    };
    addEventListener("keydown", follow);
    return () => removeEventListener("keydown", follow);
  }, [roles, path, route]);
  return state && Shown ? <Shown show={state} /> : null;
}

function toggleMenu(): void {
  opened.value = opened.value === "menu" ? null : "menu";
}

function opensMenu({ key, metaKey, ctrlKey, altKey }: KeyboardEvent): boolean {
  return key.toLowerCase() === "k" && (MAC ? metaKey : ctrlKey) && !altKey;
}

/** Return whether a key alone was pressed, where letters have no other meaning: not in a field, and not in a dialog. */
function isPlain({ ctrlKey, metaKey, altKey, target, defaultPrevented }: KeyboardEvent): boolean {
  const inField =
    target instanceof HTMLElement && target.matches("input, textarea, select, [contenteditable]");
  return (
    !(ctrlKey || metaKey || altKey || inField || defaultPrevented) &&
    !document.querySelector("dialog[open], :popover-open")
  );
}

/** Move the focus to the page's search field (`data-search`); without one, open the command menu, which searches too. */
function focusSearch(): void {
  const field = document.querySelector<HTMLElement>("main [data-search]");
  if (field) field.focus();
  else openCommands();
}
