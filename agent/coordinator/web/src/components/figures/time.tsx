/**
 * Times.
 *
 *   <Ago at={job.createdAt} />       "3 min ago", updated continuously, with the full time in the tooltip
 *   <Clock at={job.createdAt} />     the full time
 */
import { signal } from "@preact/signals";
import { ago, clock } from "../../format/time.ts";

/** The current time in milliseconds, updated every 5 seconds. Components that read it are rendered again. */
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
