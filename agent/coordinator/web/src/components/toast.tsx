/**
 * Short messages at the edge of the window; a screen reader reads them out.
 *
 *   notify("The key was copied.");
 *   await client.jobs.cancel(id).catch(complain);      shows what went wrong and what to do
 */
import { explain } from "../errors.ts";
import { Store, useValue } from "../store.ts";
import { Coded } from "./coded.tsx";
import { Icon } from "./icon.tsx";

interface Toast {
  id: number;
  text: string;
  tone: "good" | "bad";
}

const SECONDS = { good: 5, bad: 12 };
const MOST = 4;

const toasts = new Store<Toast[]>([]);
let count = 0;

/** Show a message. */
export function notify(text: string, tone: Toast["tone"] = "good"): void {
  const toast = { id: ++count, text, tone };
  toasts.value = [...toasts.value, toast].slice(-MOST);
  setTimeout(() => dismiss(toast.id), SECONDS[tone] * 1000);
}

/** Show an error, unless it is an abort. */
export function complain(error: unknown): void {
  if (error instanceof DOMException && error.name === "AbortError") return;
  notify(explain(error), "bad");
}

function dismiss(id: number): void {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}

export function Toasts() {
  return (
    <div class="stack toasts" data-gap="2" role="status" aria-live="polite">
      {useValue(toasts).map((toast) => (
        <div class="toast" key={toast.id} data-tone={toast.tone}>
          <Icon name={toast.tone === "good" ? "check" : "warn"} />
          <p>
            <Coded text={toast.text} />
          </p>
          <button
            type="button"
            class="button"
            data-kind="plain"
            data-size="small"
            data-icon-only="true"
            aria-label="Dismiss"
            onClick={() => dismiss(toast.id)}
          >
            <Icon name="close" />
          </button>
        </div>
      ))}
    </div>
  );
}
