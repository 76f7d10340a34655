/** The frame around every page: navigation, command menu, connection state, theme and sign-out. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { useLocation } from "preact-iso";
import { openCommands, SHORTCUT } from "./commands/opened.ts";
import { Commands } from "./commands/shortcuts.tsx";
import { Button } from "./components/controls/button.tsx";
import { Questions } from "./components/controls/dialog.tsx";
import { Icon, type IconName, Mark } from "./components/icon.tsx";
import { Toasts } from "./components/toast.tsx";
import { connection, useLive } from "./live.ts";
import { NEW_JOB, PAGES } from "./pages.ts";
import { AREAS, areaOf, areasOf, BASE, currentPage, type PageEntry } from "./routes.ts";
import { type Role, signOut, useReady, useRoles } from "./session.ts";
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
  // While that is unknown, the frame is that of a person who is signed in, who sees it most often.
  const bare = useReady() && role === undefined;
  useEffect(() => setOpen(false), [path]);
  return (
    <>
      <a class="skip-link" href="#main">
        Skip to content
      </a>
      <div class="shell" data-bare={bare}>
        {!bare && (
          <div class="shell-side">
            <Brand />
            <Areas />
            <Finder />
            <Navigation name="Pages" />
            <Foot />
          </div>
        )}
        <Top bare={bare} onMenu={() => setOpen(true)} />
        <main class="shell-main" id="main" tabIndex={-1}>
          {children}
        </main>
        {!bare && <Bar />}
      </div>
      <Drawer open={open} onClose={() => setOpen(false)} />
      {role && <Listening key={role} role={role} />}
      <Commands />
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

function Brand() {
  return (
    <a class="brand" href={`${BASE}/`}>
      <Mark />
      AITBC
    </a>
  );
}

/** The switch between the areas; nothing if there is only one. */
function Areas() {
  const roles = useRoles();
  const here = areaOf(useLocation().path, roles);
  const own = areasOf(roles);
  if (own.length < 2) return null;
  return (
    <nav class="areas" aria-label="Areas">
      {own.map((area) => (
        <a key={area} href={BASE + AREAS[area].home} aria-current={area === here ? "true" : undefined}>
          {AREAS[area].name}
        </a>
      ))}
    </nav>
  );
}

/** Return the navigation pages of the area, and the current one. */
function useEntries(): [pages: PageEntry[], current: PageEntry | undefined] {
  const { path } = useLocation();
  const here = areaOf(path, useRoles());
  const pages = PAGES.filter((page) => page.nav && page.area === here);
  return [pages, currentPage(path, pages)];
}

function Finder() {
  return (
    <button type="button" class="finder" onClick={openCommands}>
      <Icon name="search" />
      <span>Search</span>
      <kbd>{SHORTCUT}</kbd>
    </button>
  );
}

function Navigation({ name }: { name: string }) {
  const [pages, current] = useEntries();
  const main = pages.find((page) => page.path === NEW_JOB);
  return (
    <nav class="stack nav" aria-label={name}>
      {main?.nav && (
        <Button kind="main" icon={main.nav.icon} href={BASE + main.path}>
          {main.nav.name}
        </Button>
      )}
      <ul>
        {pages
          .filter((page) => page !== main)
          .map((page) => (
            <li key={page.path}>
              <PageLink page={page} current={page === current} />
            </li>
          ))}
      </ul>
    </nav>
  );
}

function PageLink({ page, current }: { page: PageEntry; current: boolean }) {
  if (!page.nav) return null;
  return (
    <a href={BASE + page.path} aria-current={current ? "page" : undefined}>
      <Icon name={page.nav.icon} />
      {page.nav.name}
    </a>
  );
}

function Foot() {
  const state = useValue(connection);
  return (
    <div class="shell-foot">
      <span class="connection" data-state={state} role="status">
        {CONNECTIONS[state]}
      </span>
      <ThemeButton />
      <Button size="small" kind="plain" icon="leave" label="Sign out" onClick={signOut} />
    </div>
  );
}

function ThemeButton() {
  const shown = THEMES[useValue(theme)];
  return <Button size="small" kind="plain" icon={shown.icon} label={shown.name} onClick={nextTheme} />;
}

/** The top of phones, and of pages without a session. */
function Top({ bare, onMenu }: { bare: boolean; onMenu: () => void }) {
  return (
    <header class="shell-top">
      {areasOf(useRoles()).length < 2 ? <Brand /> : <Areas />}
      <div class="shell-foot">
        {bare ? (
          <ThemeButton />
        ) : (
          <>
            <Button kind="plain" icon="search" label="Search and commands" onClick={openCommands} />
            <Button kind="plain" icon="menu" label="Menu" onClick={onMenu} />
          </>
        )}
      </div>
    </header>
  );
}

function Bar() {
  const [pages, current] = useEntries();
  return (
    <nav class="shell-bottom" aria-label="Main pages">
      {pages
        .filter((page) => page.nav?.bar)
        .map((page) => (
          <PageLink key={page.path} page={page} current={page === current} />
        ))}
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
        <div class="stack drawer-body">
          <div class="row" data-between="true">
            <Brand />
            <Button kind="plain" icon="close" label="Close menu" onClick={onClose} />
          </div>
          <Areas />
          <Navigation name="All pages" />
          <Foot />
        </div>
      )}
    </dialog>
  );
}
