/** Reading from the API within a component. */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";

export interface Loading<T> {
  /** The newest answer; stays while it is read again. */
  data: T | undefined;
  /** Why the newest reading failed. */
  error: unknown;
  loading: boolean;
  reload: () => void;
}

/**
 * Reads when the component appears, when one of `keys` changes (the old answer is gone then), and on `reload`.
 * A reading that is no longer wanted is aborted.
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
