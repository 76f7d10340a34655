/** Loads data from the API in a component. */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";

export interface Loading<T> {
  /** The latest response; stays during a reload. */
  data: T | undefined;
  /** Why the latest request failed. */
  error: unknown;
  loading: boolean;
  reload: () => void;
}

/**
 * Loads when the component mounts, when one of `keys` changes (which discards the old data), and on `reload`.
 * A request that is no longer needed is aborted.
 */
export function useLoad<T>(read: (signal: AbortSignal) => Promise<T>, keys: unknown[] = []): Loading<T> {
  const [state, setState] = useState<{ data: T | undefined; error: unknown; loading: boolean }>({
    data: undefined,
    error: undefined,
    loading: true,
  });
  const [turn, setTurn] = useState(0);
  const latest = useRef(read);
  latest.current = read;
  const before = useRef(keys);

  useEffect(() => {
    const abort = new AbortController();
    const changed = keys.some((key, index) => key !== before.current[index]);
    before.current = keys;
    setState((state) => ({ data: changed ? undefined : state.data, error: undefined, loading: true }));
    latest.current(abort.signal).then(
      (data) => abort.signal.aborted || setState({ data, error: undefined, loading: false }),
      (error) => abort.signal.aborted || setState((state) => ({ ...state, error, loading: false })),
    );
    return () => abort.abort();
  }, [...keys, turn]);

  return { ...state, reload: useCallback(() => setTurn((turn) => turn + 1), []) };
}
