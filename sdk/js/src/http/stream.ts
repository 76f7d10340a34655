/** Listens to everything that happens: reads the coordinator's WebSocket, and goes on where a connection breaks. */

import { type AITBCError, apiError, TimeoutError, TransportError } from "../errors.js";
import type { StreamEvent } from "../models.js";
import { camelCased, camelName } from "../verification/shape.js";
import { type CallOptions, pause, retryDelay, type Session } from "./transport.js";

/** After so long the coordinator says that it is still there, when there is nothing else to say. */
const HEARTBEAT_MS = 15_000;
/** Messages that may wait for a slow caller; then the connection is made anew once the caller has taken them. */
const WAITING = 10_000;

/** The types of messages that can be asked for. */
export type StreamType =
  | "job_update"
  | "marketplace_update"
  | "receipt_created"
  | "job_progress"
  | "job_event";

/** What to hear of. */
export interface ListenOptions extends CallOptions {
  /** Without them `job_update`, `marketplace_update` and `receipt_created`. */
  types?: readonly StreamType[] | undefined;
  /** The only jobs to hear of. */
  jobIds?: readonly string[] | undefined;
  /** The `seq` of the last event that is known; without it, from now on. */
  after?: number | undefined;
  /** Is called when the coordinator has confirmed a connection: from now on nothing is missed. */
  onOpen?: (() => void) | undefined;
}

/**
 * Everything that the key may hear of, as it happens, each event once and in order, until the loop is left or the
 * signal aborted.
 *
 * Throws `APIError` (a revoked key, a filter that makes no sense), and `TransportError` when no connection can be made
 * again.
 */
export async function* listen(
  session: Session,
  options: ListenOptions,
): AsyncGenerator<StreamEvent, void, undefined> {
  const Socket = session.WebSocket ?? globalThis.WebSocket ?? (await import("ws")).WebSocket;
  let after = options.after;
  for (let attempt = 0; ; attempt++) {
    options.signal?.throwIfAborted();
    const connection = new Connection(session, Socket, options, after);
    let failure: unknown;
    try {
      for (;;) {
        const told = await connection.next();
        if (told.after !== after) attempt = 0;
        after = told.after;
        if (told.event !== undefined) yield told.event;
      }
    } catch (error) {
      failure = error;
    } finally {
      connection.close();
    }
    const delay = retryDelay({ path: "/v1/ws" }, failure, attempt);
    if (delay === undefined || attempt >= session.retries) throw failure;
    await pause(delay, options.signal);
  }
}

/** A message: how far the caller has heard with it, and what it tells, if anything. */
interface Told {
  after: number;
  event?: StreamEvent;
}

/** One connection, from its subscription on. */
class Connection {
  readonly #socket: WebSocket;
  readonly #options: ListenOptions;
  readonly #silenceMs: number;
  /** Answers `subscribed` that are still to come; messages before the last of them are not for this caller. */
  #unconfirmed: number;
  #queue: Told[] = [];
  #ended: unknown;
  #wake: () => void = () => undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    session: Session,
    Socket: new (address: string) => unknown,
    options: ListenOptions,
    after: number | undefined,
  ) {
    this.#options = options;
    this.#silenceMs = session.timeoutMs + HEARTBEAT_MS;
    this.#unconfirmed = session.apiKey === undefined ? 1 : 2;
    // The two classes of sockets differ in more than is used here.
    const role = session.browser === undefined ? "" : `?role=${session.browser.role}`;
    this.#socket = new Socket(`${session.baseUrl.replace(/^http/, "ws")}/v1/ws${role}`) as WebSocket;
    this.#socket.onopen = () => {
      // Browsers cannot send headers here, and an address may end up in a log.
      if (session.apiKey !== undefined) this.#send({ type: "auth", token: session.apiKey });
      this.#send({ type: "subscribe", types: options.types, job_ids: options.jobIds, after });
    };
    this.#socket.onmessage = ({ data }) => this.#take(String(data));
    this.#socket.onerror = () => this.#end(new TransportError("The coordinator cannot be reached."));
    this.#socket.onclose = ({ code, reason }) =>
      this.#end(new TransportError(`The coordinator ended the stream (${code}${reason && `: ${reason}`}).`));
    options.signal?.addEventListener("abort", this.#abort);
    this.#touch();
  }

  /** The next message. Throws what ended the connection, once all messages before it were taken. */
  async next(): Promise<Told> {
    for (;;) {
      if (this.#options.signal?.aborted) throw this.#options.signal.reason;
      const told = this.#queue.shift();
      if (told !== undefined) return told;
      if (this.#ended !== undefined) throw this.#ended;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#options.signal?.removeEventListener("abort", this.#abort);
    this.#ended ??= new TransportError("The stream was closed.");
    // One that is not open yet cannot be closed without an error, which is of no interest here.
    this.#socket.onerror = () => undefined;
    this.#socket.close();
  }

  #send(message: object): void {
    this.#socket.send(JSON.stringify(message));
  }

  #take(text: string): void {
    this.#touch();
    // What comes after the end is told again to the next connection.
    if (this.#ended !== undefined) return;
    try {
      const { type, status, seq, data } = JSON.parse(text);
      if (type === "error") this.#end(apiError(Number(status), text));
      else if (type === "subscribed") this.#confirm(Number(data.after));
      else if (this.#unconfirmed > 0) return;
      else if (type === "heartbeat") this.#push({ after: Number(data.after) });
      else if (typeof seq === "number") this.#push({ after: seq, event: eventOf(type, data, seq) });
    } catch (error) {
      this.#end(new TransportError("A message is not a coordinator's.", { cause: error }));
    }
  }

  #confirm(after: number): void {
    this.#unconfirmed -= 1;
    if (this.#unconfirmed > 0) return;
    this.#push({ after });
    this.#options.onOpen?.();
  }

  #push(told: Told): void {
    this.#queue.push(told);
    if (this.#queue.length > WAITING) {
      this.#end(new TransportError("The reader is too slow; it goes on where it is."));
      this.#socket.close();
    }
    this.#wake();
  }

  #end(error: AITBCError): void {
    this.#ended ??= error;
    this.#wake();
  }

  #touch(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => this.#end(new TimeoutError("The coordinator was silent for too long.")),
      this.#silenceMs,
    );
  }

  readonly #abort = () => this.#wake();
}

/** A message with JavaScript's names; what a runner told keeps its own. */
function eventOf(type: string, data: object, seq: number): StreamEvent {
  const told =
    type === "job_event"
      ? Object.fromEntries(
          Object.entries(data).map(([name, value]) => [name === "job_id" ? camelName(name) : name, value]),
        )
      : camelCased(data);
  return { type, data: told, seq } as StreamEvent;
}
