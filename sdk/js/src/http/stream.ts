/** Receives live events over the coordinator's WebSocket, and resumes after a lost connection. */

import { type AITBCError, apiError, TimeoutError, TransportError, VerificationError } from "../errors.js";
import type { StreamEvent } from "../models.js";
import { camelCased, camelName } from "../verification/shape.js";
import { requireSealed } from "./events.js";
import { type CallOptions, type Session, waitToRetry } from "./transport.js";

/** The coordinator sends something at least this often. */
const HEARTBEAT_MS = 15_000;
/** Maximum queued messages. If the caller is too slow, the connection ends and is opened again when the queue is empty. */
const QUEUE_LIMIT = 10_000;
/** A socket's `readyState` before its connection is open. */
const CONNECTING = 0;

/** The types of events to subscribe to. */
export type StreamType =
  | "job_update"
  | "marketplace_update"
  | "receipt_created"
  | "job_progress"
  | "job_event";

/** Which events to receive. */
export interface ListenOptions extends CallOptions {
  /** By default `job_update`, `marketplace_update` and `receipt_created`. */
  types?: readonly StreamType[] | undefined;
  /** Only events of these jobs. */
  jobIds?: readonly string[] | undefined;
  /** Resume after the event with this `seq`; by default, start with the next event. */
  after?: number | undefined;
  /** Called when the coordinator has confirmed a subscription: no later event is missed. */
  onOpen?: (() => void) | undefined;
}

/**
 * Yield all events that the key may receive, each once and in order, until the caller leaves the loop or aborts the signal.
 *
 * Throws `APIError` (a revoked key, an invalid filter), `TransportError` when it cannot reconnect, and `VerificationError` for
 * an event in clear with content of a job that this client sealed.
 */
export async function* listen(
  session: Session,
  options: ListenOptions,
): AsyncGenerator<StreamEvent, void, undefined> {
  const Socket = session.WebSocket ?? globalThis.WebSocket ?? (await import("ws")).WebSocket;
  const position = { after: options.after };
  for (let attempt = 0; ; attempt++) {
    options.signal?.throwIfAborted();
    const start = position.after;
    const failure = yield* read(session, new Connection(session, Socket, options, start), position);
    if (failure instanceof VerificationError) throw failure;
    if (position.after !== start) attempt = 0;
    await waitToRetry(session, { path: "/v1/ws", signal: options.signal }, failure, attempt);
  }
}

/** Yield the events of one connection, and record the position. Returns the error that ended the connection. */
async function* read(
  session: Session,
  connection: Connection,
  position: { after: number | undefined },
): AsyncGenerator<StreamEvent, unknown, undefined> {
  try {
    for (;;) {
      const { after, event } = await connection.next();
      position.after = after;
      if (event?.type === "job_event" && (await (await session.memory()).get(event.data.jobId))) {
        requireSealed(event.data.kind, event.data);
      }
      if (event !== undefined) yield event;
    }
  } catch (error) {
    return error;
  } finally {
    connection.close();
  }
}

/** A message: the position after it, and its event, if any. */
interface Message {
  after: number;
  event?: StreamEvent;
}

/** One subscribed connection. */
class Connection {
  readonly #socket: WebSocket;
  readonly #options: ListenOptions;
  readonly #silenceMs: number;
  readonly #inPage: boolean;
  /** Outstanding `subscribed` messages; messages before the last of them are ignored. */
  #unconfirmed: number;
  #queue: Message[] = [];
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
    this.#inPage = session.browser !== undefined;
    this.#unconfirmed = session.apiKey === undefined ? 1 : 2;
    // The two socket classes differ only in parts that are not used here.
    const role = session.browser === undefined ? "" : `?role=${session.browser.role}`;
    this.#socket = new Socket(`${session.baseUrl.replace(/^http/, "ws")}/v1/ws${role}`) as WebSocket;
    this.#socket.onopen = () => {
      // Browsers cannot send headers with a WebSocket, and a URL may end up in a log.
      if (session.apiKey !== undefined) this.#send({ type: "auth", token: session.apiKey });
      this.#send({ type: "subscribe", types: options.types, job_ids: options.jobIds, after });
    };
    this.#socket.onmessage = ({ data }) => this.#receive(String(data));
    this.#socket.onerror = () => this.#end(new TransportError("Cannot connect to the coordinator."));
    this.#socket.onclose = ({ code, reason }) =>
      this.#end(
        new TransportError(`The coordinator closed the event stream (${code}${reason && `: ${reason}`}).`),
      );
    options.signal?.addEventListener("abort", this.#abort);
    this.#touch();
  }

  /** Return the next message. When the queue is empty, throws the error that ended the connection. */
  async next(): Promise<Message> {
    for (;;) {
      if (this.#options.signal?.aborted) throw this.#options.signal.reason;
      const message = this.#queue.shift();
      if (message !== undefined) return message;
      if (this.#ended !== undefined) throw this.#ended;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#options.signal?.removeEventListener("abort", this.#abort);
    this.#ended ??= new TransportError("The event stream was closed.");
    // Closing a socket that is still connecting reports an error, which is ignored. In a page it would be a warning in the console.
    this.#socket.onerror = () => undefined;
    if (this.#inPage && this.#socket.readyState === CONNECTING)
      this.#socket.onopen = () => this.#socket.close();
    else this.#socket.close();
  }

  #send(message: object): void {
    this.#socket.send(JSON.stringify(message));
  }

  #receive(text: string): void {
    this.#touch();
    // The next connection receives later messages again.
    if (this.#ended !== undefined) return;
    try {
      const { type, status, seq, data } = JSON.parse(text);
      if (type === "error") this.#end(apiError(Number(status), text));
      else if (type === "subscribed") this.#confirm(Number(data.after));
      else if (this.#unconfirmed > 0) return;
      else if (type === "heartbeat") this.#push({ after: Number(data.after) });
      else if (typeof seq === "number") this.#push({ after: seq, event: eventOf(type, data, seq) });
    } catch (error) {
      this.#end(new TransportError("The coordinator sent an invalid message.", { cause: error }));
    }
  }

  #confirm(after: number): void {
    this.#unconfirmed -= 1;
    if (this.#unconfirmed > 0) return;
    this.#push({ after });
    this.#options.onOpen?.();
  }

  #push(message: Message): void {
    this.#queue.push(message);
    if (this.#queue.length > QUEUE_LIMIT) {
      this.#end(new TransportError("Events arrived faster than they were read."));
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
      () => this.#end(new TimeoutError("The coordinator sent nothing for too long.")),
      this.#silenceMs,
    );
  }

  readonly #abort = () => this.#wake();
}

/** Convert a message to JavaScript's names, except for the runner's data. */
function eventOf(type: string, data: object, seq: number): StreamEvent {
  const converted =
    type === "job_event"
      ? Object.fromEntries(
          Object.entries(data).map(([name, value]) => [name === "job_id" ? camelName(name) : name, value]),
        )
      : camelCased(data);
  return { type, data: converted, seq } as StreamEvent;
}
