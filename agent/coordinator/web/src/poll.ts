/** Polls data that the event stream does not cover, while the window is visible. */
import { useEffect, useRef } from "preact/hooks";
import { type Loading, useLoad } from "./load.ts";

/**
 * Like `useLoad`, but reloads after `seconds`, which may depend on the data. Pauses while the window is hidden and reloads at
 * once when it is shown again. An error stays until a request succeeds.
 *
 *   const miners = usePolled((signal) => api("admin").miners.list({ signal }), 5);
 */
export function usePolled<T>(
  read: (signal: AbortSignal) => Promise<T>,
  seconds: number | ((data: T | undefined) => number),
  keys: unknown[] = [],
): Loading<T> {
  const current = useLoad(read, keys);
  const { data, loading, reload } = current;
  const error = useRef<unknown>(undefined);
  if (!loading) error.current = current.error;
  const pause = typeof seconds === "number" ? seconds : seconds(data);

  useEffect(() => {
    if (loading) return;
    const again = () => document.visibilityState === "visible" && reload();
    const timer = setTimeout(again, pause * 1000);
    document.addEventListener("visibilitychange", again);
    return () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", again);
    };
  }, [loading, pause, reload]);

  return { ...current, error: error.current };
}
