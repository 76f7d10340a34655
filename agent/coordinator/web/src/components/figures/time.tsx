/**
 * Times.
 *
 *   <Ago at={job.createdAt} />       "3 min ago", by itself up to date; the full time in the tooltip
 *   <Clock at={job.createdAt} />     the full time
 */
import { signal } from "@preact/signals";
import { ago, clock } from "../../format/time.ts";

/** The time to the nearest few seconds; what reads it is drawn again when it changes. */
export const now = signal(Date.now());
setInterval(() => {
  now.value = Date.now();
}, 5000);

export function Ago({ at }: { at: string }) {
  return (
    <time dateTime={at} title={clock(at)}>
      {ago(at, now.value)}
    </time>
  );
}

export function Clock({ at }: { at: string }) {
  return <time dateTime={at}>{clock(at)}</time>;
}
