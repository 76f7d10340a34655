/** Values that several components share, such as the session and the colour theme. */
import { useEffect, useRef, useState } from "preact/hooks";

/** A value with listeners, which it notifies of every change. */
export class Store<T> {
  readonly listeners = new Set<() => void>();
  #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  set value(value: T) {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const listener of [...this.listeners]) listener();
  }
}

/**
 * Return what `pick` makes of a store's value. The component is rendered again when that changes.
 *
 *   const text = useStore(now, (now) => ago(job.createdAt, now));
 */
export function useStore<T, P>(store: Store<T>, pick: (value: T) => P): P {
  const [, render] = useState({});
  const picked = pick(store.value);
  const shown = useRef({ pick, picked });
  shown.current = { pick, picked };
  useEffect(() => {
    const follow = () => {
      const { pick, picked } = shown.current;
      if (!Object.is(pick(store.value), picked)) render({});
    };
    store.listeners.add(follow);
    // The value may have changed since the component was rendered.
    follow();
    return () => void store.listeners.delete(follow);
  }, [store]);
  return picked;
}

/** Return a store's value. The component is rendered again when it changes. */
export function useValue<T>(store: Store<T>): T {
  return useStore(store, (value) => value);
}
