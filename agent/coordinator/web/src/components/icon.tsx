/**
 * Icons, drawn in the colour of the surrounding text. Screen readers ignore them and read the text next to them.
 *
 *   <Icon name="jobs" />
 *
 * Their paths are symbols in index.html, which is no script.
 */

export type IconName =
  | "overview"
  | "home"
  | "search"
  | "help"
  | "jobs"
  | "add"
  | "chat"
  | "wallet"
  | "market"
  | "receipt"
  | "verify"
  | "machine"
  | "gpu"
  | "model"
  | "earnings"
  | "people"
  | "lock"
  | "key"
  | "log"
  | "settings"
  | "menu"
  | "close"
  | "check"
  | "cross"
  | "dash"
  | "wait"
  | "play"
  | "pause"
  | "stop"
  | "again"
  | "trash"
  | "copy"
  | "file"
  | "upload"
  | "download"
  | "link"
  | "warn"
  | "info"
  | "back"
  | "forward"
  | "more"
  | "sun"
  | "moon"
  | "auto"
  | "leave"
  | "spinner"
  | "image"
  | "sound"
  | "film"
  | "text"
  | "code";

export function Icon({ name, class: className }: { name: IconName; class?: string }) {
  return (
    <svg class={className} viewBox="0 0 24 24" aria-hidden="true">
      <use href={`#icon-${name}`} />
    </svg>
  );
}

/** The product's logo: a verified receipt. */
export function Mark() {
  return (
    <svg viewBox="0 0 32 32" aria-hidden="true">
      <path fill="currentColor" d="M4 2h24v28l-4-3-4 3-4-3-4 3-4-3-4 3z" />
      <path
        fill="none"
        stroke="var(--paper)"
        stroke-width="3"
        stroke-linecap="round"
        stroke-linejoin="round"
        d="m10 14 4.5 4.5L22.5 10"
      />
    </svg>
  );
}
