/** Requests to the coordinator, with time limits, retries where these are safe, and the package's errors. */

import { collected, joined } from "../bytes.js";
import { AITBCError, APIError, apiError, TimeoutError, TransportError } from "../errors.js";
import type { ReplyKey } from "../sealed/keys.js";
import type { SealingMemory } from "../sealed/memory.js";
import { camelCased } from "../verification/shape.js";
import { VERSION } from "../version.js";
import { nodeProcess } from "./platform.js";

/** A function like the global `fetch`. */
export type Fetch = (input: string, init: RequestInit) => Promise<Response>;

/** The role in which a page uses the browser's session, and the token that proves that it is the coordinator's page. */
export interface BrowserAccess {
  role: "client" | "miner" | "admin";
  csrfToken: string;
}

/** The client's settings, which every call uses. */
export interface Session {
  readonly baseUrl: string;
  readonly apiKey: string | undefined;
  /** Set in pages of the coordinator that use the browser's session. */
  readonly browser: BrowserAccess | undefined;
  readonly fetch: Fetch;
  /** Replaces the default `WebSocket` class. */
  readonly WebSocket: typeof WebSocket | undefined;
  /** Maximum milliseconds without data from the coordinator. */
  readonly timeoutMs: number;
  /** Maximum retries of one request. */
  readonly retries: number;
  /** Return the client's key for sealed jobs. Throws `ConfigurationError` if it has none. */
  readonly replyKey: () => Promise<ReplyKey>;
  /** Return the client's memory of the jobs that it sealed. */
  readonly memory: () => Promise<SealingMemory>;
}

/** Options of every call. */
export interface CallOptions {
  /** Aborts the call, which is rejected with the signal's reason. Work that the coordinator has started continues. */
  signal?: AbortSignal | undefined;
}

/** One HTTP request. `path` starts with `/v1/`. */
export interface Call extends CallOptions {
  method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | undefined;
  path: string;
  /** A list repeats its parameter. */
  query?: Record<string, string | number | boolean | readonly string[] | undefined> | undefined;
  headers?: Record<string, string> | undefined;
  /** A value to send as JSON. */
  json?: unknown;
  body?: Blob | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> | undefined;
  /** Whether the request is idempotent. By default, GET requests are. */
  repeatable?: boolean | undefined;
  /** Send the browser's cookie even if the client uses no session. */
  withCookie?: boolean | undefined;
  /** Milliseconds to wait in addition to the session's timeout, because the coordinator holds the response. */
  patienceMs?: number | undefined;
  /** Upper bound of the timeout, in milliseconds. */
  limitMs?: number | undefined;
  /** A URL that needs no key, to use instead of the path. */
  url?: string | undefined;
}

/** Delay before the first retry; doubled for each further one. */
const BACKOFF_MS = 250;
const LONGEST_BACKOFF_MS = 10_000;
/** If the coordinator asks for a longer delay, the error is thrown instead. */
const LONGEST_RETRY_AFTER_SECONDS = 60;
/** Statuses that guarantee that the request had no effect. */
const REFUSED: ReadonlySet<number> = new Set([429, 503]);
const GATEWAY: ReadonlySet<number> = new Set([502, 504]);
/** Node's error codes for a connection that was not established. */
const NEVER_CONNECTED: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);

/** Aborts a request when its caller aborts it, or when no data arrives for too long. */
class Watch {
  readonly #controller = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  timedOut = false;

  constructor(
    private readonly caller: AbortSignal | undefined,
    private readonly silenceMs: number,
  ) {
    caller?.throwIfAborted();
    caller?.addEventListener("abort", this.#abort);
    this.touch();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Restart the timer, because data has arrived. */
  touch(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.timedOut = true;
      this.#controller.abort();
    }, this.silenceMs);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.caller?.removeEventListener("abort", this.#abort);
  }

  readonly #abort = () => this.#controller.abort(this.caller?.reason);
}

/** A successful response whose content has not been read. Read it to its end, or `close` it. */
export class Answer {
  constructor(
    readonly response: Response,
    private readonly watch: Watch,
    private readonly call: Call,
  ) {}

  get status(): number {
    return this.response.status;
  }

  get headers(): Headers {
    return this.response.headers;
  }

  /** Read the content in chunks. Throws the errors of `open`. */
  async *chunks(): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
    const reader = this.response.body?.getReader();
    try {
      while (reader !== undefined) {
        const { done, value } = await reader.read();
        if (done) return;
        this.watch.touch();
        yield value as Uint8Array<ArrayBuffer>;
      }
    } catch (error) {
      throw failure(error, this.watch, this.call);
    } finally {
      this.watch.close();
      // The connection is abandoned, so the outcome does not matter.
      reader?.cancel().catch(() => undefined);
    }
  }

  /** Read all of the content. */
  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return joined(await collected(this.chunks()));
  }

  /** Read all of the content as text. */
  async text(): Promise<string> {
    return new TextDecoder().decode(await this.bytes());
  }

  /** Abandon the connection. */
  close(): void {
    this.watch.close();
    this.response.body?.cancel().catch(() => undefined);
  }
}

/**
 * Send one request once, and return its successful response.
 *
 * Throws `APIError` for an error response, `TransportError` or `TimeoutError` without a response, and the reason of the
 * caller's signal.
 */
export async function open(session: Session, call: Call): Promise<Answer> {
  const usual = session.timeoutMs + (call.patienceMs ?? 0);
  const watch = new Watch(call.signal, Math.min(usual, call.limitMs ?? usual));
  let answer: Answer;
  try {
    const response = await session.fetch(call.url ?? addressOf(session, call), {
      ...contentOf(session, call),
      method: call.method ?? "GET",
      signal: watch.signal,
      credentials:
        call.url === undefined && (call.withCookie || session.browser !== undefined) ? "same-origin" : "omit",
    });
    watch.touch();
    answer = new Answer(response, watch, call);
  } catch (error) {
    watch.close();
    throw failure(error, watch, call);
  }
  if (answer.response.ok) {
    // Nothing to read, so stop the timer.
    if (answer.response.body === null) answer.close();
    return answer;
  }
  throw apiError(answer.status, await answer.text(), retryAfter(answer.headers));
}

function contentOf(session: Session, call: Call): RequestInit & { duplex?: "half" } {
  const headers: Record<string, string> = { ...call.headers };
  if (call.url !== undefined) return { headers };
  if (session.browser !== undefined) {
    headers["X-Session-Role"] = session.browser.role;
    headers["X-CSRF-Token"] = session.browser.csrfToken;
  } else if (session.apiKey !== undefined) headers.Authorization = `Bearer ${session.apiKey}`;
  // Browsers set their own User-Agent.
  if (nodeProcess() !== undefined) headers["User-Agent"] = `aitbc-javascript/${VERSION}`;
  if (call.json !== undefined) {
    headers["Content-Type"] = "application/json";
    return { headers, body: JSON.stringify(call.json) };
  }
  if (call.body === undefined) return { headers };
  // `fetch` requires `duplex` for a stream.
  if (call.body instanceof ReadableStream) return { headers, body: call.body, duplex: "half" };
  return { headers, body: call.body };
}

/** Send one request with retries, and return its successful response. */
export async function request(session: Session, call: Call): Promise<Answer> {
  return repeated(session, call, () => open(session, call));
}

/** Send one request with retries, and read its response as JSON with JavaScript's names. */
export async function fetchJson<T>(session: Session, call: Call): Promise<T> {
  return camelCased(await fetchRaw(session, call)) as T;
}

/** Send one request with retries, and read its response as JSON with the API's names. */
export async function fetchRaw(session: Session, call: Call): Promise<unknown> {
  const text = await fetchText(session, call);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new TransportError(
      `The response to ${nameOf(call)} is not JSON. Is this a coordinator's address?`,
      {
        cause: error,
      },
    );
  }
}

/** Send one request with retries, and read its response as text. */
export async function fetchText(session: Session, call: Call): Promise<string> {
  return repeated(session, call, async () => (await open(session, call)).text());
}

/** Send one request with retries, and read its response as bytes. */
export async function fetchBytes(session: Session, call: Call): Promise<Uint8Array<ArrayBuffer>> {
  return repeated(session, call, async () => (await open(session, call)).bytes());
}

async function repeated<T>(session: Session, call: Call, once: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await once();
    } catch (error) {
      await waitToRetry(session, call, error, attempt);
    }
  }
}

/** Wait before a retry. Throws `error` if the request must not be retried. */
export async function waitToRetry(
  session: Session,
  call: Call,
  error: unknown,
  attempt: number,
): Promise<void> {
  const delay = retryDelay(call, error, attempt);
  if (delay === undefined || attempt >= session.retries) throw error;
  await pause(delay, call.signal);
}

/** Return the delay before a retry in milliseconds, or undefined if the request must not be retried. */
export function retryDelay(call: Call, error: unknown, attempt: number): number | undefined {
  if (!(error instanceof AITBCError) || call.body instanceof ReadableStream) return undefined;
  const backoff = backoffDelay(attempt);
  if (error instanceof APIError) {
    if (REFUSED.has(error.status)) return requestedDelay(error.retryAfter, backoff);
    return GATEWAY.has(error.status) && isRepeatable(call) ? backoff : undefined;
  }
  const isUnsent = error instanceof TransportError && !error.sent;
  const isLost = error instanceof TransportError || error instanceof TimeoutError;
  return isUnsent || (isLost && isRepeatable(call)) ? backoff : undefined;
}

function isRepeatable(call: Call): boolean {
  return call.repeatable ?? (call.method ?? "GET") === "GET";
}

function requestedDelay(retryAfter: number | undefined, backoff: number): number | undefined {
  if (retryAfter === undefined) return backoff;
  return retryAfter <= LONGEST_RETRY_AFTER_SECONDS ? retryAfter * 1000 : undefined;
}

/** Return an exponential backoff with jitter, in milliseconds. */
export function backoffDelay(attempt: number): number {
  return Math.min(LONGEST_BACKOFF_MS, BACKOFF_MS * 2 ** attempt) * (0.5 + Math.random());
}

/** Wait. Throws the signal's reason if it is aborted. */
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

/** Return the URL of a call, with its query. */
export function addressOf(session: Session, call: Call): string {
  const given = Object.entries(call.query ?? {}).filter(([, value]) => value !== undefined);
  const pairs = given.flatMap(([name, value]) => [value].flat().map((item) => [name, String(item)]));
  const query = new URLSearchParams(pairs).toString();
  return session.baseUrl + call.path + (query && `?${query}`);
}

/** Encode one segment of a path. */
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

/** Translate an error of `fetch` into one of this package. */
function failure(error: unknown, watch: Watch, call: Call): unknown {
  if (watch.timedOut) return new TimeoutError(`The coordinator did not respond to ${nameOf(call)} in time.`);
  if (call.signal?.aborted) return call.signal.reason;
  if (error instanceof AITBCError) return error;
  const cause = (error as { cause?: { code?: string; message?: string } }).cause;
  if (cause?.code !== undefined && NEVER_CONNECTED.has(cause.code)) {
    const text = `Cannot connect to the coordinator: ${cause.message || cause.code}.`;
    return new TransportError(text, { sent: false, cause: error });
  }
  const reason = cause?.message || (error instanceof Error ? error.message : String(error));
  return new TransportError(`The connection to the coordinator was lost during ${nameOf(call)}: ${reason}.`, {
    cause: error,
  });
}
