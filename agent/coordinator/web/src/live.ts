/** Live events: one event stream of the API for each role that has a listener. */
import type { StreamEvent, StreamType } from "@aitbc/client";
import { useEffect, useRef } from "preact/hooks";
import { api, type Role } from "./session.ts";
import { Store } from "./store.ts";

type Listener = (event: StreamEvent) => void;

const TYPES: StreamType[] = ["job_update", "job_progress", "marketplace_update", "receipt_created"];
/** Pause before reconnecting after the client has used up its own retries. */
const PAUSE_MS = 5000;

/** Whether the page receives events. */
export const connection = new Store<"off" | "open" | "waiting">("off");

const streams = new Map<Role, Stream>();

/**
 * Call `listener` for every event while the component is mounted. After a lost connection, missed events are delivered too.
 *
 *   useLive("client", (event) => event.type === "job_update" && patch(event.data));
 */
export function useLive(role: Role, listener: Listener): void {
  const latest = useRef(listener);
  latest.current = listener;
  useEffect(() => {
    const stream = streams.get(role) ?? new Stream(role);
    streams.set(role, stream);
    const listen: Listener = (event) => latest.current(event);
    stream.listeners.add(listen);
    return () => {
      stream.listeners.delete(listen);
      // The next page usually listens too, and subscribes before this timer fires.
      setTimeout(() => {
        if (stream.listeners.size > 0) return;
        stream.abort.abort();
        if (streams.get(role) === stream) streams.delete(role);
        if (streams.size === 0) connection.value = "off";
      });
    };
  }, [role]);
}

/** The stream of one role, from its first listener to its last. */
class Stream {
  readonly listeners = new Set<Listener>();
  readonly abort = new AbortController();
  #after: number | undefined;

  constructor(role: Role) {
    void this.#run(role);
  }

  async #run(role: Role): Promise<void> {
    const { signal } = this.abort;
    const onOpen = () => {
      connection.value = "open";
    };
    while (!signal.aborted) {
      try {
        connection.value = "waiting";
        for await (const event of api(role).events({ types: TYPES, after: this.#after, signal, onOpen })) {
          this.#after = event.seq;
          for (const listener of this.listeners) listener(event);
        }
      } catch {
        // The corner of the page shows the lost connection. Pages reload their data when the stream is back.
        if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
    }
  }
}
