/** The frame around every page: navigation, connection state, theme and sign-out. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { useLocation } from "preact-iso";
import { Button } from "./components/controls/button.tsx";
import { Questions } from "./components/controls/dialog.tsx";
import { Icon, type IconName, Mark } from "./components/icon.tsx";
import { Toasts } from "./components/toast.tsx";
import { connection, useLive } from "./live.ts";
import { PAGES } from "./pages.ts";
import { BASE, GROUPS, type NavGroup, type PageEntry } from "./routes.ts";
import { type Role, signOut, useRoles } from "./session.ts";
import { useValue } from "./store.ts";
import { nextTheme, type Theme, theme } from "./theme.ts";

const THEMES: Record<Theme, { icon: IconName; name: string }> = {
  auto: { icon: "auto", name: "Colours: system" },
  light: { icon: "sun", name: "Colours: light" },
  dark: { icon: "moon", name: "Colours: dark" },
};

const CONNECTIONS = { off: "Not connected", open: "Live", waiting: "Reconnecting" };

export function Shell({ children }: { children: ComponentChildren }) {
  const [open, setOpen] = useState(false);
  const { path } = useLocation();
  const [role] = useRoles();
  useEffect(() => setOpen(false), [path]);
  return (
    <>
      <a class="skip-link" href="#main">
        Skip to content
      </a>
      <div class="shell">
        <div class="shell-side">
          <Brand />
          <Navigation id="pages" />
          <Foot />
        </div>
        <header class="shell-top">
          <Brand />
          <Button kind="plain" icon="menu" label="Menu" onClick={() => setOpen(true)} />
        </header>
        <main class="shell-main" id="main" tabIndex={-1}>
          {children}
        </main>
        <Bar onMore={() => setOpen(true)} />
      </div>
      <Drawer open={open} onClose={() => setOpen(false)} />
      {role && <Listening key={role} role={role} />}
      <Questions />
      <Toasts />
    </>
  );
}

/** Keeps the stream open between pages that listen to it. */
function Listening({ role }: { role: Role }) {
  useLive(role, () => undefined);
  return null;
}

export function Brand() {
  return (
    <a class="brand" href={`${BASE}/`}>
      <Mark />
      AITBC
    </a>
  );
}

/** Return the navigation pages that this session may open. */
function useVisible(): PageEntry[] {
  const roles = useRoles();
  return PAGES.filter((page) => page.nav && (page.role === undefined || roles.includes(page.role)));
}

function href(page: PageEntry): string {
  return BASE + page.path;
}

/** Return the navigation page that an address belongs to: the one with the longest matching path prefix. */
export function currentPage(path: string, pages: PageEntry[]): PageEntry | undefined {
  const here = path.replace(/\/$/, "");
  const inside = (page: PageEntry) =>
    page.path === "/" ? here === BASE : here === href(page) || here.startsWith(`${href(page)}/`);
  return pages.filter(inside).sort((one, other) => other.path.length - one.path.length)[0];
}

function Navigation({ id }: { id: "pages" | "all-pages" }) {
  const { path } = useLocation();
  const pages = useVisible();
  const current = currentPage(path, pages);
  const list = useRef<HTMLElement>(null);
  // The list may be longer than the screen.
  useEffect(
    () => list.current?.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" }),
    [current],
  );
  return (
    <nav class="nav" ref={list} aria-label={id === "pages" ? "Pages" : "All pages"}>
      {(Object.keys(GROUPS) as NavGroup[]).map((group) => {
        const inside = pages.filter((page) => page.nav?.group === group);
        if (inside.length === 0) return null;
        return (
          <div key={group}>
            <p class="nav-title" id={`${id}-${group}`}>
              {GROUPS[group]}
            </p>
            <ul aria-labelledby={`${id}-${group}`}>
              {inside.map((page) => (
                <li key={page.path}>
                  <PageLink page={page} current={page === current} />
                </li>
              ))}
            </ul>
          </div>
        );
      })}
    </nav>
  );
}

function PageLink({ page, current }: { page: PageEntry; current: boolean }) {
  if (!page.nav) return null;
  return (
    <a href={href(page)} aria-current={current ? "page" : undefined}>
      <Icon name={page.nav.icon} />
      {page.nav.name}
    </a>
  );
}

function Foot() {
  const state = useValue(connection);
  const roles = useRoles();
  const shown = THEMES[useValue(theme)];
  return (
    <div class="shell-foot">
      <div class="shell-foot-row">
        <span class="connection" data-state={state} role="status">
          {CONNECTIONS[state]}
        </span>
        <Button size="small" kind="plain" icon={shown.icon} label={shown.name} onClick={nextTheme} />
      </div>
      {roles.length > 0 && (
        <Button size="small" icon="leave" onClick={signOut}>
          Sign out
        </Button>
      )}
    </div>
  );
}

function Bar({ onMore }: { onMore: () => void }) {
  const { path } = useLocation();
  const pages = useVisible();
  const current = currentPage(path, pages);
  const inBar = pages.filter((page) => page.nav?.bar).slice(0, 4);
  return (
    <nav class="shell-bottom" aria-label="Main pages">
      {inBar.map((page) => (
        <PageLink key={page.path} page={page} current={page === current} />
      ))}
      <button type="button" onClick={onMore}>
        <Icon name="more" />
        More
      </button>
    </nav>
  );
}

function Drawer({ open, onClose }: { open: boolean; onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  return (
    <dialog class="drawer" ref={dialog} aria-label="Menu" onClose={onClose}>
      {open && (
        <div class="drawer-body">
          <Button kind="plain" icon="close" label="Close menu" onClick={onClose} />
          <Navigation id="all-pages" />
          <Foot />
        </div>
      )}
    </dialog>
  );
}
