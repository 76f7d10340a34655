/** `client.admin` and `client.keys`: accounts, keys, tokens and miners. */

import { type CallOptions, fetchBytes, fetchJson, part, type Session } from "../http/transport.js";
import type {
  AccountList,
  Credited,
  Enrolment,
  Exclusion,
  Key,
  KeyList,
  KeyRole,
  NewAccount,
  NewKey,
  NewLogin,
  Overview,
  OwnKeyList,
} from "../models.js";
import { snakeCased } from "../verification/shape.js";

/** The client's own key, and further keys of its account. */
export class Keys {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Return the client's key, without its secret. */
  me(options: CallOptions = {}): Promise<Key> {
    return fetchJson(this.#session, { path: "/v1/key", ...options });
  }

  /** Return the valid keys of the client's account, without their secrets, and their maximum number. */
  list(options: CallOptions = {}): Promise<OwnKeyList> {
    return fetchJson(this.#session, { path: "/v1/keys", ...options });
  }

  /** Create another key for the client's account. Only this response contains the secret. */
  create(name: string, options: CallOptions = {}): Promise<NewKey> {
    return fetchJson(this.#session, { method: "POST", path: "/v1/keys", json: { name }, ...options });
  }

  /** Revoke another key of the client's account. */
  async revoke(keyId: string, options: CallOptions = {}): Promise<void> {
    await fetchBytes(this.#session, { method: "DELETE", path: `/v1/keys/${part(keyId)}`, ...options });
  }

  /** Revoke the client's own key. Its next call throws `Unauthorized`. */
  async revokeSelf(options: CallOptions = {}): Promise<void> {
    await fetchBytes(this.#session, { method: "DELETE", path: "/v1/key", ...options });
  }
}

/** Calls for administrators, which require an administrator key. */
export class Admin {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Return a page of accounts, oldest first. Pass the `next` of a page as `after` for the following one. */
  accounts(
    options: { limit?: number | undefined; after?: string | undefined } & CallOptions = {},
  ): Promise<AccountList> {
    const { signal, ...query } = options;
    return fetchJson(this.#session, { path: "/v1/admin/accounts", query, signal });
  }

  /** Create an account, which owns jobs, files and money. */
  createAccount(name: string, options: CallOptions = {}): Promise<NewAccount> {
    return this.#post("/v1/admin/accounts", { name }, options);
  }

  /** Credit an account with an amount (a decimal string). */
  credit(
    accountId: string,
    credit: { amount: string; note?: string | undefined },
    options: CallOptions = {},
  ): Promise<Credited> {
    return this.#post(`/v1/admin/accounts/${part(accountId)}/credit`, credit, options);
  }

  /** Return all keys, including revoked ones, without their secrets. */
  keys(options: CallOptions = {}): Promise<KeyList> {
    return fetchJson(this.#session, { path: "/v1/admin/keys", ...options });
  }

  /** Create a key: a client's with its account, a miner owner's with its miner. Only this response contains the secret. */
  createKey(
    key: {
      role: KeyRole;
      name: string;
      accountId?: string | undefined;
      minerId?: string | undefined;
    },
    options: CallOptions = {},
  ): Promise<NewKey> {
    return this.#post("/v1/admin/keys", key, options);
  }

  /** Revoke a key. */
  async revokeKey(keyId: string, options: CallOptions = {}): Promise<void> {
    await fetchBytes(this.#session, { method: "DELETE", path: `/v1/admin/keys/${part(keyId)}`, ...options });
  }

  /** Create a token with which miners can join. */
  createEnrolment(
    enrolment: { uses?: number | undefined; validSeconds?: number | undefined } = {},
    options: CallOptions = {},
  ): Promise<Enrolment> {
    return this.#post("/v1/admin/enrolments", enrolment, options);
  }

  /**
   * Create a one-time login link to the dashboard. It grants a client key of the account, an owner key of the miner, or an
   * administrator key: those that you name, or an administrator key by default.
   */
  createLogin(
    grants: {
      accountId?: string | undefined;
      minerId?: string | undefined;
      admin?: boolean | undefined;
    } = {},
    options: CallOptions = {},
  ): Promise<NewLogin> {
    return this.#post("/v1/admin/logins", grants, options);
  }

  /** Exclude a miner: its session ends at once, its running jobs are queued again, and it can no longer register. */
  excludeMiner(
    minerId: string,
    exclusion: { reason?: string | undefined } = {},
    options: CallOptions = {},
  ): Promise<Exclusion> {
    return this.#post(`/v1/admin/miners/${part(minerId)}/exclude`, exclusion, options);
  }

  /** Readmit an excluded miner. */
  async includeMiner(minerId: string, options: CallOptions = {}): Promise<void> {
    await this.#post(`/v1/admin/miners/${part(minerId)}/include`, {}, options);
  }

  /** Return all miners with their services, and the number of jobs in each state. */
  overview(options: CallOptions = {}): Promise<Overview> {
    return fetchJson(this.#session, { path: "/v1/admin/overview", ...options });
  }

  #post<T>(path: string, body: object, options: CallOptions): Promise<T> {
    return fetchJson(this.#session, { method: "POST", path, json: snakeCased(body), ...options });
  }
}
