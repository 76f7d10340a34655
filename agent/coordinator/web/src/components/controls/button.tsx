/**
 * Buttons, and links that look like them.
 *
 *   <Button onClick={save} kind="main" icon="add">New job</Button>
 *   <Button href="/dashboard/jobs">All jobs</Button>
 *   <Button icon="close" label="Close" onClick={close} />          an icon alone needs a label
 *
 * `onClick` may return a promise: the button is busy until it settles, and an error is shown in a toast.
 */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Icon, type IconName } from "../icon.tsx";
import { complain } from "../toast.tsx";

export interface ButtonProps {
  children?: ComponentChildren;
  /** main: the page's primary action; plain: without a frame; danger: an action that cannot be undone. */
  kind?: "main" | "normal" | "plain" | "danger";
  size?: "normal" | "small";
  icon?: IconName;
  label?: string;
  href?: string;
  /** Download the target of `href` under this name instead of opening it. */
  download?: string;
  type?: "button" | "submit";
  /** The id of the form that it submits, if it lies outside of it. */
  form?: string;
  disabled?: boolean;
  busy?: boolean;
  onClick?: (event: MouseEvent) => unknown;
}

export function Button({ children, kind = "normal", size = "normal", icon, label, ...rest }: ButtonProps) {
  const { href, download, type = "button", form, disabled, busy = false, onClick } = rest;
  const [working, setWorking] = useState(false);
  const shared = {
    class: "button",
    "data-kind": kind,
    "data-size": size,
    "data-icon-only": children === undefined,
    "aria-label": label,
    title: children === undefined ? label : undefined,
  };
  const pending = busy || working;
  const inside = (
    <>
      {pending ? <Icon name="spinner" class="spinner" /> : icon && <Icon name={icon} />}
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
    <button
      {...shared}
      type={type}
      form={form}
      disabled={disabled || pending}
      aria-busy={pending}
      onClick={press}
    >
      {inside}
    </button>
  );
}
