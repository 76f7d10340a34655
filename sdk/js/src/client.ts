/** The client: one coordinator, one key, and the groups of calls. */

import { Admin, Keys } from "./calls/admin.js";
import { Artifacts } from "./calls/artifacts.js";
import { Jobs } from "./calls/jobs.js";
import { Log } from "./calls/log.js";
import { Marketplace } from "./calls/marketplace.js";
import { Miners } from "./calls/miners.js";
import { Receipts } from "./calls/receipts.js";
import { Registry } from "./calls/registry.js";
import { Services } from "./calls/services.js";
import { Sessions } from "./calls/sessions.js";
import { Wallet } from "./calls/wallet.js";
import { findAddress } from "./http/address.js";
import { type ListenOptions, listen } from "./http/stream.js";
import {
  type BrowserAccess,
  type CallOptions,
  type Fetch,
  fetchJson,
  type Session,
} from "./http/transport.js";
import type { Health, Login, StreamEvent } from "./models.js";

const TIMEOUT_MS = 30_000;
/** With their pauses they bridge a restart of the coordinator of some seconds. */
const RETRIES = 4;

/** How a client is made. All of it may be left out. */
export interface ClientOptions {
  /** Without it `AITBC_API_KEY`, or the local agent's. */
  apiKey?: string | undefined;
  /** In a page of the coordinator: act with the session of the browser (`client.sessions`) and not with a key. */
  browser?: BrowserAccess | undefined;
  /** Without it `AITBC_BASE_URL` or the local agent; in a browser the server that the page came from. */
  baseUrl?: string | undefined;
  /** In place of the global `fetch`. */
  fetch?: Fetch | undefined;
  /** In place of the global `WebSocket`, or in Node without one of the package `ws`. */
  WebSocket?: typeof WebSocket | undefined;
  /** Milliseconds that the coordinator may be silent (30,000). It bounds each step, not the whole. */
  timeoutMs?: number | undefined;
  /** The most repetitions of a request that is safe to repeat (4). */
  retries?: number | undefined;
}

/**
 * A client of one coordinator.
 *
 * Throws `ConfigurationError` when no coordinator is known or its address is malformed.
 */
export class AITBCClient {
  /** The coordinator's address, without `/v1`. */
  readonly baseUrl: string;
  /** Create, watch, cancel, fetch results. */
  readonly jobs: Jobs;
  /** Each call creates a job of its kind. */
  readonly services: Services;
  /** Files: upload, download, read, link, delete. */
  readonly artifacts: Artifacts;
  /** Fetch, export, ask the coordinator to verify. */
  readonly receipts: Receipts;
  /** Which services there are, what they take, what they need. */
  readonly registry: Registry;
  /** The coordinator's log: its checkpoint, proofs, tiles. */
  readonly log: Log;
  /** Offers of miners, jobs given to them, statistics. */
  readonly marketplace: Marketplace;
  /** Balance and transactions. */
  readonly wallet: Wallet;
  /** What miners do and have done, and what their owners want of them. */
  readonly miners: Miners;
  /** The key that the client uses. */
  readonly keys: Keys;
  /** How pages of the coordinator sign in and out. Programs use keys. */
  readonly sessions: Sessions;
  /** What administrators do. */
  readonly admin: Admin;
  readonly #session: Session;

  constructor(options: ClientOptions = {}) {
    const { baseUrl, apiKey } = findAddress(options.baseUrl, options.apiKey);
    const session: Session = {
      baseUrl,
      apiKey: options.browser === undefined ? apiKey : undefined,
      browser: options.browser,
      // Browsers want their `fetch` called as the window's own.
      fetch: options.fetch ?? ((input, init) => globalThis.fetch(input, init)),
      WebSocket: options.WebSocket,
      timeoutMs: options.timeoutMs ?? TIMEOUT_MS,
      retries: options.retries ?? RETRIES,
    };
    this.#session = session;
    this.baseUrl = baseUrl;
    this.jobs = new Jobs(session);
    this.services = new Services(session);
    this.artifacts = new Artifacts(session);
    this.receipts = new Receipts(session);
    this.registry = new Registry(session);
    this.log = new Log(session);
    this.marketplace = new Marketplace(session);
    this.wallet = new Wallet(session);
    this.miners = new Miners(session);
    this.keys = new Keys(session);
    this.sessions = new Sessions(session);
    this.admin = new Admin(session);
  }

  /**
   * Everything that happens, as it happens, each event once and in order, until the loop is left or the signal aborted.
   *
   * Where the connection breaks a new one is made, which goes on after the last event; an event `resync` says where
   * something is lost.
   */
  events(options: ListenOptions = {}): AsyncGenerator<StreamEvent, void, undefined> {
    return listen(this.#session, options);
  }

  /** The coordinator's state. */
  health(options: CallOptions = {}): Promise<Health> {
    return fetchJson(this.#session, { path: "/v1/health", ...options });
  }

  /** Exchange a one-time token, as `aitbc-agent login` prints it, for keys. No key is needed. */
  login(token: string, options: CallOptions = {}): Promise<Login> {
    return fetchJson(this.#session, { method: "POST", path: "/v1/login", json: { token }, ...options });
  }
}
