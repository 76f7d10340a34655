/**
 * Times.
 *
 *   <Ago at={job.createdAt} />       "12 s ago", updated every second, with the exact time in the tooltip
 *   <Clock at={job.createdAt} />     the exact time
 */
import { ago, clock } from "../../format/time.ts";
import { Store, useStore } from "../../store.ts";

/** The current time in milliseconds, updated every second. */
export const now = new Store(Date.now());
setInterval(() => {
  now.value = Date.now();
}, 1000);

export function Ago({ at }: { at: string }) {
  const text = useStore(now, (now) => ago(at, now));
  return (
    <time dateTime={at} title={clock(at)}>
      {text}
    </time>
  );
}

export function Clock({ at }: { at: string }) {
  return <time dateTime={at}>{clock(at)}</time>;
}
