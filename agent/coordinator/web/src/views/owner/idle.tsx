/** How a machine's capacity was used over the last hour. */
import type { IdleShare } from "@aitbc/client";
import { sentence } from "../../format/names.ts";

const WORKING = "working";
/** The bar, unlike the list, leaves out smaller shares. */
const VISIBLE = 0.005;

export function Idle({ shares }: { shares: IdleShare[] }) {
  if (shares.length === 0) {
    return <p class="quiet">No report yet. A machine reports within a minute after its start.</p>;
  }
  const ordered = [...shares].sort((one, other) => rank(other) - rank(one));
  return (
    <div class="stack">
      <div class="idle-bar" aria-hidden="true">
        {ordered
          .filter((part) => part.share >= VISIBLE)
          .map((part) => (
            <span key={part.reason} data-part={meaning(part.reason)} style={{ flexGrow: part.share }} />
          ))}
      </div>
      <ul class="idle-list">
        {ordered.map((part) => (
          <li key={part.reason}>
            <span class="idle-sign" data-part={meaning(part.reason)} aria-hidden="true" />
            <span>{sentence(OLDER[part.reason] ?? part.reason)}</span>
            <strong>{percent(part.share)}</strong>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** What older machines report, in today's words. */
const OLDER: Record<string, string> = { "no job that fits is waiting": "no jobs for this machine" };

/** Sort work first, then by share. */
function rank(part: IdleShare): number {
  return part.reason === WORKING ? 2 : part.share;
}

/** Return what a reason means: work (green), preparation (blue), a pause (amber), a failure (red), or nothing to do. */
export function meaning(reason: string): string {
  if (reason === WORKING) return WORKING;
  if (/^(loading|fetching|starting|stopping)/.test(reason)) return "busy";
  if (/\bfaults?\b|^no connection/.test(reason)) return "bad";
  if (/^paused|\bwaits?\b/.test(reason)) return "wait";
  return "still";
}

function percent(share: number): string {
  const value = share * 100;
  return value > 0 && value < 1 ? "< 1 %" : `${Math.round(value)} %`;
}
