/** The client of one coordinator, with its groups of calls. */

import { Admin, Keys } from "./calls/admin.js";
import { Artifacts } from "./calls/artifacts.js";
import { Audits } from "./calls/audits.js";
import { Jobs } from "./calls/jobs.js";
import { Log } from "./calls/log.js";
import { Marketplace } from "./calls/marketplace.js";
import { Miners } from "./calls/miners.js";
import { Payouts } from "./calls/payouts.js";
import { Receipts } from "./calls/receipts.js";
import { Registry } from "./calls/registry.js";
import { Services } from "./calls/services.js";
import { Sessions } from "./calls/sessions.js";
import { Wallet } from "./calls/wallet.js";
import { Webhooks } from "./calls/webhooks.js";
import { ConfigurationError } from "./errors.js";
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
import type { ReplyKey } from "./sealed/keys.js";
import type { SealingMemory } from "./sealed/memory.js";
import { usualMemory } from "./sealed/usual_memory.js";

const TIMEOUT_MS = 30_000;
/** With their delays, enough to bridge a restart of the coordinator that takes a few seconds. */
const RETRIES = 4;

const NO_KEY =
  "Sealed jobs need a key of the client, to open their answers. Pass replyKey: a ReplyKey, which a page stores in IndexedDB.";

/** Options of a client. */
export interface ClientOptions {
  /** Defaults to `AITBC_API_KEY` or the local agent's key. */
  apiKey?: string | undefined;
  /** In a page of the coordinator: use the browser's session (`client.sessions`) instead of a key. */
  browser?: BrowserAccess | undefined;
  /** Defaults to `AITBC_BASE_URL` or the local agent; in a browser, to the page's origin. */
  baseUrl?: string | undefined;
  /** Replaces the global `fetch`. */
  fetch?: Fetch | undefined;
  /** Replaces the global `WebSocket`, or in older Node versions that of the package `ws`. */
  WebSocket?: typeof WebSocket | undefined;
  /** Maximum milliseconds without data from the coordinator (30,000). It limits each step, not the whole call. */
  timeoutMs?: number | undefined;
  /** Maximum retries of a request that is safe to retry (4). */
  retries?: number | undefined;
  /**
   * The key with which sealed jobs are created and their answers opened, or a function that loads it when it is needed. In
   * Node, it defaults to that of the command `aitbc` (`readReplyKey`).
   */
  replyKey?: ReplyKey | (() => Promise<ReplyKey>) | undefined;
  /**
   * Where the client remembers what it sealed. Defaults to a directory of the command `aitbc` in Node, and to IndexedDB in
   * browsers; elsewhere it lasts as long as the program.
   */
  sealingMemory?: SealingMemory | undefined;
}

/**
 * A client of one coordinator.
 *
 * Throws `ConfigurationError` if no coordinator is configured or its address is malformed.
 */
export class AITBCClient {
  /** The coordinator's address, without `/v1`. */
  readonly baseUrl: string;
  /** Which results were checked by another miner, and with what outcome. */
  readonly audits: Audits;
  /** Create, follow and cancel jobs, and get their results. */
  readonly jobs: Jobs;
  /** Run a service. Each call creates a job. */
  readonly services: Services;
  /** List, upload, download, link and delete files. */
  readonly artifacts: Artifacts;
  /** Get and export receipts, or have the coordinator verify them. */
  readonly receipts: Receipts;
  /** The services, their schemas and requirements. */
  readonly registry: Registry;
  /** The coordinator's log: its checkpoint, proofs and tiles. */
  readonly log: Log;
  /** Offers, and market statistics. */
  readonly marketplace: Marketplace;
  /** Payments to miners. */
  readonly payouts: Payouts;
  /** Balance and transactions. */
  readonly wallet: Wallet;
  /** The state and statistics of miners, and commands to them. */
  readonly miners: Miners;
  /** The client's own key, and further keys of its account. */
  readonly keys: Keys;
  /** Browser sessions, for pages of the coordinator. Programs use keys. */
  readonly sessions: Sessions;
  /** Calls for administrators. */
  readonly admin: Admin;
  /** Messages to an address of yours when a job ends: the secret that signs them, and their delivery. */
  readonly webhooks: Webhooks;
  readonly #session: Session;

  constructor(options: ClientOptions = {}) {
    const { baseUrl, apiKey } = findAddress(options.baseUrl, options.apiKey);
    const session: Session = {
      baseUrl,
      apiKey: options.browser === undefined ? apiKey : undefined,
      browser: options.browser,
      // Browsers require `fetch` to be called on the global object.
      fetch: options.fetch ?? ((input, init) => globalThis.fetch(input, init)),
      WebSocket: options.WebSocket,
      timeoutMs: options.timeoutMs ?? TIMEOUT_MS,
      retries: options.retries ?? RETRIES,
      replyKey: keyLoader(options.replyKey),
      memory: memoryLoader(options.sealingMemory),
    };
    this.#session = session;
    this.baseUrl = baseUrl;
    this.audits = new Audits(session);
    this.jobs = new Jobs(session);
    this.services = new Services(session);
    this.artifacts = new Artifacts(session);
    this.receipts = new Receipts(session);
    this.registry = new Registry(session);
    this.log = new Log(session);
    this.marketplace = new Marketplace(session);
    this.payouts = new Payouts(session);
    this.wallet = new Wallet(session);
    this.miners = new Miners(session);
    this.keys = new Keys(session);
    this.sessions = new Sessions(session);
    this.admin = new Admin(session);
    this.webhooks = new Webhooks(session);
  }

  /**
   * Receive all events live, each once and in order, until you leave the loop or abort the signal.
   *
   * After a lost connection, it reconnects and resumes after the last event. An event `resync` marks lost events.
   */
  events(options: ListenOptions = {}): AsyncGenerator<StreamEvent, void, undefined> {
    return listen(this.#session, options);
  }

  /** Return the state of the coordinator. */
  health(options: CallOptions = {}): Promise<Health> {
    return fetchJson(this.#session, { path: "/v1/health", ...options });
  }

  /** Exchange a one-time token, which `aitbc-agent login` prints, for keys. Needs no key. */
  login(token: string, options: CallOptions = {}): Promise<Login> {
    return fetchJson(this.#session, { method: "POST", path: "/v1/login", json: { token }, ...options });
  }
}

/** Return a function that loads the key for sealed jobs once. */
function keyLoader(given: ClientOptions["replyKey"]): () => Promise<ReplyKey> {
  let loaded: Promise<ReplyKey> | undefined;
  const load = async () => {
    if (given !== undefined) return typeof given === "function" ? given() : given;
    if (globalThis.process === undefined) throw new ConfigurationError(NO_KEY);
    return (await import("./sealed/key_file.js")).readReplyKey();
  };
  return () => {
    loaded ??= load().catch((error: unknown) => {
      loaded = undefined;
      throw error;
    });
    return loaded;
  };
}

/** Return a function that finds the memory of sealed jobs when it is needed. */
function memoryLoader(given: SealingMemory | undefined): () => Promise<SealingMemory> {
  let found = given === undefined ? undefined : Promise.resolve(given);
  return () => {
    found ??= usualMemory();
    return found;
  };
}
