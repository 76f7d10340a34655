/**
 * Times.
 *
 *   <Ago at={job.createdAt} />       "12 s ago", updated every second, with the exact time in the tooltip
 *   <Clock at={job.createdAt} />     the exact time
 */
import { signal, useComputed, useSignal } from "@preact/signals";
import { ago, clock } from "../../format/time.ts";

/** The current time in milliseconds, updated every second. Components that read it are rendered again. */
export const now = signal(Date.now());
setInterval(() => {
  now.value = Date.now();
}, 1000);

export function Ago({ at }: { at: string }) {
  const time = useSignal(at);
  time.value = at;
  // Only the text changes, and only when it reads differently; the component is not rendered again.
  const text = useComputed(() => ago(time.value, now.value));
  return (
    <time dateTime={at} title={clock(at)}>
      {text}
    </time>
  );
}

export function Clock({ at }: { at: string }) {
  return <time dateTime={at}>{clock(at)}</time>;
}
