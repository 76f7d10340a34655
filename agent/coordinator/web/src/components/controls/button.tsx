/**
 * Buttons, and links that look like them.
 *
 *   <Button onClick={save} kind="main" icon="add">New job</Button>
 *   <Button href="/dashboard/jobs">All jobs</Button>
 *   <Button icon="close" label="Close" onClick={close} />          an icon alone needs a label
 *
 * `onClick` may return a promise: the button is busy until it ends, and what it throws is told in a toast.
 */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Icon, type IconName } from "../icon.tsx";
import { complain } from "../toast.tsx";

export interface ButtonProps {
  children?: ComponentChildren;
  /** main: what this page is for; plain: without a frame; danger: what cannot be taken back. */
  kind?: "main" | "normal" | "plain" | "danger";
  size?: "normal" | "small";
  icon?: IconName;
  label?: string;
  href?: string;
  /** The name under which what `href` leads to is stored, instead of being opened. */
  download?: string;
  type?: "button" | "submit";
  disabled?: boolean;
  busy?: boolean;
  onClick?: (event: MouseEvent) => unknown;
}

export function Button({ children, kind = "normal", size = "normal", icon, label, ...rest }: ButtonProps) {
  const { href, download, type = "button", disabled, busy = false, onClick } = rest;
  const [working, setWorking] = useState(false);
  const shared = {
    class: "button",
    "data-kind": kind,
    "data-size": size,
    "data-icon-only": children === undefined,
    "aria-label": label,
    title: children === undefined ? label : undefined,
  };
  const turning = busy || working;
  const inside = (
    <>
      {turning ? <Icon name="spinner" class="spinner" /> : icon && <Icon name={icon} />}
      {children}
    </>
  );
  if (href !== undefined) {
    return (
      <a {...shared} href={href} download={download}>
        {inside}
      </a>
    );
  }
  const press = async (event: MouseEvent) => {
    const outcome = onClick?.(event);
    if (!(outcome instanceof Promise)) return;
    setWorking(true);
    await outcome.catch(complain);
    setWorking(false);
  };
  return (
    <button {...shared} type={type} disabled={disabled || turning} aria-busy={turning} onClick={press}>
      {inside}
    </button>
  );
}
