/** What happens, as it happens: one stream of the API for each role that something listens with. */
import type { StreamEvent, StreamType } from "@aitbc/client";
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { api, type Role } from "./session.ts";

type Listener = (event: StreamEvent) => void;

const TYPES: StreamType[] = ["job_update", "job_progress", "marketplace_update", "receipt_created"];
/** Between two attempts when the client has given up: a coordinator that is away for longer than a restart. */
const PAUSE_MS = 5000;

/** Whether the page hears of changes by itself. */
export const connection = signal<"off" | "open" | "waiting">("off");

const streams = new Map<Role, Stream>();

/**
 * Hear of every change while the component is there. After a connection was lost, what was missed is told as well.
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
      // The next page usually listens as well, and begins to within the same turn.
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
        // Told in the corner of the page; what the page shows is read again when the stream is back.
        if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
    }
  }
}
