/** Reading again and again while somebody looks, for what the stream does not tell. */
import { useEffect, useRef } from "preact/hooks";
import { type Loading, useLoad } from "./load.ts";

/**
 * As `useLoad`, and again after some seconds, which may depend on what was read. Not while the window is hidden; at once when it
 * is shown again. An error stays until a reading succeeds.
 *
 *   const miners = usePolled((signal) => api("admin").miners.list({ signal }), () => 5);
 */
export function usePolled<T>(
  read: (signal: AbortSignal) => Promise<T>,
  every: (data: T | undefined) => number,
  keys: unknown[] = [],
): Loading<T> {
  const current = useLoad(read, keys);
  const { data, loading, reload } = current;
  const error = useRef<unknown>(undefined);
  if (!loading) error.current = current.error;
  const seconds = every(data);

  useEffect(() => {
    if (loading) return;
    const again = () => document.visibilityState === "visible" && reload();
    const timer = setTimeout(again, seconds * 1000);
    document.addEventListener("visibilitychange", again);
    return () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", again);
    };
  }, [loading, seconds, reload]);

  return { ...current, error: error.current };
}
