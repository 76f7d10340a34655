/**
 * A button that opens a list of actions: for a row of a table, and for rare or dangerous actions of a page.
 *
 *   <Menu label="More" items={[
 *     { name: "Run again", icon: "again", act: () => route(again) },
 *     { name: "Delete", icon: "trash", danger: true, act: () => setDeleting(job) },
 *   ]} />
 *   <Menu label={`Actions for ${key.name}`} brief items={...} />       only an icon; the label is for screen readers
 *
 * Arrow keys move, Escape closes. `act` may return a promise, whose error is shown in a toast. Dangerous actions must ask first.
 */
import { useId, useRef } from "preact/hooks";
import { Icon, type IconName } from "../icon.tsx";
import { complain } from "../toast.tsx";

export interface MenuItem {
  name: string;
  icon?: IconName;
  danger?: boolean;
  disabled?: boolean;
  act: () => unknown;
}

export interface MenuProps {
  label: string;
  items: MenuItem[];
  brief?: boolean;
}

/** Pixels between the button and the list. */
const GAP = 4;

export function Menu({ label, items, brief = false }: MenuProps) {
  const id = useId();
  const button = useRef<HTMLButtonElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const entries = () => [...(list.current?.querySelectorAll<HTMLElement>("button:enabled") ?? [])];
  // In the top layer, so that no table cuts it off; therefore it is laid out by hand: below the button, or above near the window's end.
  const lay = () => {
    if (!button.current || !list.current) return;
    const { left, right, top, bottom } = button.current.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = list.current;
    const below = bottom + GAP + height <= innerHeight;
    const x = right - width >= GAP ? right - width : left;
    list.current.style.translate = `${Math.max(GAP, x)}px ${below ? bottom + GAP : Math.max(GAP, top - GAP - height)}px`;
  };
  const press = (event: KeyboardEvent) => {
    const all = entries();
    const at = all.indexOf(document.activeElement as HTMLElement);
    const next: Record<string, number> = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 };
    const index = next[event.key];
    if (index === undefined) return;
    event.preventDefault();
    all.at(index % all.length)?.focus();
  };
  const pick = (item: MenuItem) => {
    // First, so that the focus is on the button again, to which a dialog then returns it.
    list.current?.hidePopover();
    button.current?.focus();
    Promise.resolve(item.act()).catch(complain);
  };
  return (
    <>
      <button
        type="button"
        class="button"
        data-kind={brief ? "plain" : "normal"}
        data-size={brief ? "small" : "normal"}
        data-icon-only={brief}
        aria-label={brief ? label : undefined}
        title={brief ? label : undefined}
        aria-haspopup="menu"
        popovertarget={id}
        ref={button}
      >
        <Icon name="more" />
        {!brief && label}
      </button>
      <div
        class="menu"
        id={id}
        role="menu"
        aria-label={label}
        tabIndex={-1}
        popover="auto"
        ref={list}
        onKeyDown={press}
        onToggle={(event) => {
          if (event.newState !== "open") return;
          lay();
          entries()[0]?.focus();
        }}
      >
        {items.map((item) => (
          <button
            key={item.name}
            type="button"
            role="menuitem"
            tabIndex={-1}
            data-danger={item.danger}
            disabled={item.disabled}
            onClick={() => pick(item)}
          >
            {item.icon && <Icon name={item.icon} />}
            {item.name}
          </button>
        ))}
      </div>
    </>
  );
}
