/** Requests to the coordinator: one attempt, or repeated where that is safe; time limits, and errors of one tree. */

import { AITBCError, APIError, apiError, TimeoutError, TransportError } from "../errors.js";
import { camelCased } from "../verification/shape.js";
import { VERSION } from "../version.js";
import { nodeProcess } from "./platform.js";

/** Takes a request as the global `fetch` does. */
export type Fetch = (input: string, init: RequestInit) => Promise<Response>;

/** The role in which a page acts with the browser's session, and the token that shows that it is the coordinator's page. */
export interface BrowserAccess {
  role: "client" | "miner" | "admin";
  csrfToken: string;
}

/** What every call knows of its client. */
export interface Session {
  readonly baseUrl: string;
  readonly apiKey: string | undefined;
  /** How a page of the coordinator acts with the browser's session; undefined where it does not. */
  readonly browser: BrowserAccess | undefined;
  readonly fetch: Fetch;
  /** The class of sockets to use; undefined where it has yet to be imported. */
  readonly WebSocket: typeof WebSocket | undefined;
  /** Milliseconds that the coordinator may be silent. */
  readonly timeoutMs: number;
  /** Repetitions of one request. */
  readonly retries: number;
}

/** What every call of the client takes beside its own options. */
export interface CallOptions {
  /** Ends the call: it is rejected with the signal's reason. What the coordinator has begun goes on. */
  signal?: AbortSignal | undefined;
}

/** One HTTP request. `path` begins with `/v1/`. */
export interface Call extends CallOptions {
  method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | undefined;
  path: string;
  query?: Record<string, string | number | boolean | undefined> | undefined;
  headers?: Record<string, string> | undefined;
  /** A value to send as JSON. */
  json?: unknown;
  body?: Blob | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> | undefined;
  /** Whether sending it twice does no more than sending it once. */
  repeatable?: boolean | undefined;
  /** Whether the browser's cookie goes with it also where the client does not act with a session. */
  withCookie?: boolean | undefined;
  /** Milliseconds that the coordinator may be silent beyond the usual, because it holds the answer. */
  patienceMs?: number | undefined;
  /** Milliseconds that the silence may not exceed all the same. */
  limitMs?: number | undefined;
}

/** Before the first repetition; doubled for each further one. */
const BACKOFF_MS = 250;
const LONGEST_BACKOFF_MS = 10_000;
/** A coordinator that asks for more patience than this gets its error shown instead. */
const LONGEST_RETRY_AFTER_SECONDS = 60;
/** Statuses that promise that nothing was done. */
const REFUSED: ReadonlySet<number> = new Set([429, 503]);
const GATEWAY: ReadonlySet<number> = new Set([502, 504]);
/** What Node says when no connection was made. */
const NEVER_CONNECTED: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);

/** Aborts a request when its caller wants that, or when nothing has come for too long. */
class Watch {
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal | undefined;
  readonly #silenceMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  timedOut = false;

  constructor(caller: AbortSignal | undefined, silenceMs: number) {
    this.#caller = caller;
    this.#silenceMs = silenceMs;
    caller?.throwIfAborted();
    caller?.addEventListener("abort", this.#abort);
    this.touch();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Something came: the time begins anew. */
  touch(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.timedOut = true;
      this.#controller.abort();
    }, this.#silenceMs);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#caller?.removeEventListener("abort", this.#abort);
  }

  readonly #abort = () => this.#controller.abort(this.#caller?.reason);
}

/** A successful answer whose content is still to be read. `close` it, or read it to its end. */
export class Answer {
  readonly #watch: Watch;
  readonly #call: Call;

  constructor(
    readonly response: Response,
    watch: Watch,
    call: Call,
  ) {
    this.#watch = watch;
    this.#call = call;
  }

  get status(): number {
    return this.response.status;
  }

  get headers(): Headers {
    return this.response.headers;
  }

  /** The content, piece by piece. Throws what `open` throws. */
  async *chunks(): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
    const reader = this.response.body?.getReader();
    try {
      while (reader !== undefined) {
        const { done, value } = await reader.read();
        if (done) return;
        this.#watch.touch();
        yield value as Uint8Array<ArrayBuffer>;
      }
    } catch (error) {
      throw failure(error, this.#watch, this.#call);
    } finally {
      this.#watch.close();
      // Not waited for, and what it says does not matter: the connection is given up.
      reader?.cancel().catch(() => undefined);
    }
  }

  /** All of the content. */
  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    for await (const piece of this.chunks()) pieces.push(piece);
    return joined(pieces);
  }

  /** All of the content, as text. */
  async text(): Promise<string> {
    return new TextDecoder().decode(await this.bytes());
  }

  /** Give the connection up. */
  close(): void {
    this.#watch.close();
    this.response.body?.cancel().catch(() => undefined);
  }
}

/** Pieces as one. */
export function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let position = 0;
  for (const piece of pieces) {
    result.set(piece, position);
    position += piece.length;
  }
  return result;
}

/**
 * Perform one request once; its successful answer.
 *
 * Throws `APIError` for an error answer, `TransportError` or `TimeoutError` when there is none, and the reason of the
 * caller's signal.
 */
export async function open(session: Session, call: Call): Promise<Answer> {
  const usual = session.timeoutMs + (call.patienceMs ?? 0);
  const watch = new Watch(call.signal, Math.min(usual, call.limitMs ?? usual));
  let answer: Answer;
  try {
    const response = await session.fetch(addressOf(session, call), {
      ...contentOf(session, call),
      method: call.method ?? "GET",
      signal: watch.signal,
      credentials: call.withCookie || session.browser !== undefined ? "same-origin" : "omit",
    });
    watch.touch();
    answer = new Answer(response, watch, call);
  } catch (error) {
    watch.close();
    throw failure(error, watch, call);
  }
  if (answer.response.ok) {
    // There is nothing to read, so nothing to watch over.
    if (answer.response.body === null) answer.close();
    return answer;
  }
  throw apiError(answer.status, await answer.text(), retryAfter(answer.headers));
}

function contentOf(session: Session, call: Call): RequestInit & { duplex?: "half" } {
  const headers: Record<string, string> = { ...call.headers };
  if (session.browser !== undefined) {
    headers["X-Session-Role"] = session.browser.role;
    headers["X-CSRF-Token"] = session.browser.csrfToken;
  } else if (session.apiKey !== undefined) headers.Authorization = `Bearer ${session.apiKey}`;
  // Browsers name themselves.
  if (nodeProcess() !== undefined) headers["User-Agent"] = `aitbc-javascript/${VERSION}`;
  if (call.json !== undefined) {
    headers["Content-Type"] = "application/json";
    return { headers, body: JSON.stringify(call.json) };
  }
  if (call.body === undefined) return { headers };
  // A stream is sent to its end before the answer is read, and `fetch` wants that said.
  if (call.body instanceof ReadableStream) return { headers, body: call.body, duplex: "half" };
  return { headers, body: call.body };
}

/** As `open`, with repetitions. */
export async function request(session: Session, call: Call): Promise<Answer> {
  return repeated(session, call, () => open(session, call));
}

/** Perform one request with repetitions, and read its answer as JSON with JavaScript's names. */
export async function fetchJson<T>(session: Session, call: Call): Promise<T> {
  return camelCased(await fetchRaw(session, call)) as T;
}

/** Perform one request with repetitions, and read its answer as JSON with the API's names. */
export async function fetchRaw(session: Session, call: Call): Promise<unknown> {
  const text = await fetchText(session, call);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new TransportError(`The answer to ${nameOf(call)} is not a coordinator's: it is no JSON.`, {
      cause: error,
    });
  }
}

/** Perform one request with repetitions, and read its answer as text. */
export async function fetchText(session: Session, call: Call): Promise<string> {
  return repeated(session, call, async () => (await open(session, call)).text());
}

/** Perform one request with repetitions, and read its answer as bytes. */
export async function fetchBytes(session: Session, call: Call): Promise<Uint8Array<ArrayBuffer>> {
  return repeated(session, call, async () => (await open(session, call)).bytes());
}

async function repeated<T>(session: Session, call: Call, once: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await once();
    } catch (error) {
      const delay = retryDelay(call, error, attempt);
      if (delay === undefined || attempt >= session.retries) throw error;
      await pause(delay, call.signal);
    }
  }
}

/** Milliseconds to wait before the request is sent again, undefined when it must not be. */
export function retryDelay(call: Call, error: unknown, attempt: number): number | undefined {
  if (!(error instanceof AITBCError) || call.body instanceof ReadableStream) return undefined;
  const repeatable = call.repeatable ?? (call.method ?? "GET") === "GET";
  const backoff = backoffDelay(attempt);
  if (error instanceof TransportError) return repeatable || !error.sent ? backoff : undefined;
  if (error instanceof TimeoutError) return repeatable ? backoff : undefined;
  if (!(error instanceof APIError)) return undefined;
  if (REFUSED.has(error.status)) {
    if (error.retryAfter === undefined) return backoff;
    return error.retryAfter <= LONGEST_RETRY_AFTER_SECONDS ? error.retryAfter * 1000 : undefined;
  }
  return GATEWAY.has(error.status) && repeatable ? backoff : undefined;
}

/** Milliseconds before the next attempt: doubled each time up to a limit, and never the same for two clients. */
export function backoffDelay(attempt: number): number {
  return Math.min(LONGEST_BACKOFF_MS, BACKOFF_MS * 2 ** attempt) * (0.5 + Math.random());
}

/** Wait. Throws the signal's reason when it is aborted before. */
export function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/** A path of the API with its parameters. */
export function addressOf(session: Session, call: Call): string {
  const given = Object.entries(call.query ?? {}).filter(([, value]) => value !== undefined);
  const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return session.baseUrl + call.path + (query && `?${query}`);
}

/** One part of a path. */
export function part(value: string): string {
  return encodeURIComponent(value);
}

function retryAfter(headers: Headers): number | undefined {
  const value = headers.get("retry-after") ?? "";
  return /^[0-9]+$/.test(value) ? Number(value) : undefined;
}

function nameOf(call: Call): string {
  return `${call.method ?? "GET"} ${call.path}`;
}

/** The error to throw for what `fetch` threw. */
function failure(error: unknown, watch: Watch, call: Call): unknown {
  if (watch.timedOut) return new TimeoutError(`The coordinator did not answer ${nameOf(call)} in time.`);
  if (call.signal?.aborted) return call.signal.reason;
  if (error instanceof AITBCError) return error;
  const cause = (error as { cause?: { code?: string; message?: string } }).cause;
  if (cause?.code !== undefined && NEVER_CONNECTED.has(cause.code)) {
    const text = `The coordinator cannot be reached: ${cause.message || cause.code}.`;
    return new TransportError(text, { sent: false, cause: error });
  }
  const reason = cause?.message || (error instanceof Error ? error.message : String(error));
  return new TransportError(`The connection to the coordinator broke during ${nameOf(call)}: ${reason}.`, {
    cause: error,
  });
}
