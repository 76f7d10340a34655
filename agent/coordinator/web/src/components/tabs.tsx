/**
 * Tabs: links between pages that belong together, or parts of one page, of which one is shown.
 *
 *   <Page title="Earnings" tabs={EARNINGS}>                                  routes.ts lists such pages
 *   <Tabs label="About this job" tabs={[{ id: "log", name: "Log", content: () => <Log /> }]} />
 *
 * The shown part is in the address (#log), so that it can be linked. Arrow keys move between tabs.
 */
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { useLocation } from "preact-iso";
import { BASE, type TabLink } from "../routes.ts";

export function TabLinks({ label, tabs }: { label: string; tabs: TabLink[] }) {
  const { path } = useLocation();
  return (
    <nav class="tabs" aria-label={label}>
      {tabs.map((tab) => (
        <a key={tab.path} href={BASE + tab.path} aria-current={path === BASE + tab.path ? "page" : undefined}>
          {tab.name}
        </a>
      ))}
    </nav>
  );
}

export interface Tab {
  /** In the address. */
  id: string;
  name: string;
  /** Called only while the tab is shown. */
  content: () => ComponentChildren;
}

const inAddress = () => location.hash.slice(1);

/** Return where an arrow key, Home or End leads in a row, and take the key; undefined for other keys. */
export function indexOfKey(event: KeyboardEvent, current: number, length: number): number | undefined {
  const steps: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1, Home: -length, End: length };
  const step = steps[event.key];
  if (step === undefined) return undefined;
  event.preventDefault();
  return Math.max(0, Math.min(length - 1, current + step));
}

export function Tabs({ label, tabs }: { label: string; tabs: Tab[] }) {
  const id = useId();
  const [chosen, setChosen] = useState(inAddress);
  const list = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const follow = () => setChosen(inAddress());
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  const shown = tabs.find((tab) => tab.id === chosen) ?? tabs[0];
  if (!shown) return null;
  const show = (tab: Tab) => {
    history.replaceState(history.state, "", `#${tab.id}`);
    setChosen(tab.id);
  };
  const press = (event: KeyboardEvent) => {
    const index = indexOfKey(event, tabs.indexOf(shown), tabs.length);
    const next = tabs[index ?? -1];
    if (index === undefined || !next) return;
    show(next);
    list.current?.querySelectorAll("button")[index]?.focus();
  };
  return (
    <div class="stack">
      <div class="tabs" role="tablist" aria-label={label} ref={list} onKeyDown={press}>
        {tabs.map((tab) => (
          <button
            key={tab.id}
            type="button"
            role="tab"
            id={`${id}-${tab.id}`}
            aria-selected={tab === shown}
            aria-controls={`${id}-panel`}
            tabIndex={tab === shown ? 0 : -1}
            onClick={() => show(tab)}
          >
            {tab.name}
          </button>
        ))}
      </div>
      <div class="stack" role="tabpanel" id={`${id}-panel`} aria-labelledby={`${id}-${shown.id}`}>
        {shown.content()}
      </div>
    </div>
  );
}
