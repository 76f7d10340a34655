/** `client.admin` and `client.keys`: accounts, keys, tokens, and the state of everything. */

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

/** The key that the client uses, and further ones of its account. */
export class Keys {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /** What the client's key is for. */
  me(options: CallOptions = {}): Promise<Key> {
    return fetchJson(this.#session, { path: "/v1/key", ...options });
  }

  /** The valid keys of the client's account without their secrets, and how many it may have. */
  list(options: CallOptions = {}): Promise<OwnKeyList> {
    return fetchJson(this.#session, { path: "/v1/keys", ...options });
  }

  /** Make another key for the client's account. The answer has the secret, this once. */
  create(name: string, options: CallOptions = {}): Promise<NewKey> {
    return fetchJson(this.#session, { method: "POST", path: "/v1/keys", json: { name }, ...options });
  }

  /** Make another key of the client's account useless from now on. */
  async revoke(keyId: string, options: CallOptions = {}): Promise<void> {
    await fetchBytes(this.#session, { method: "DELETE", path: `/v1/keys/${part(keyId)}`, ...options });
  }

  /** Revoke the client's own key: nothing can be done with it any more. */
  async revokeSelf(options: CallOptions = {}): Promise<void> {
    await fetchBytes(this.#session, { method: "DELETE", path: "/v1/key", ...options });
  }
}

/** What administrators do; everything here needs an administrator's key. */
export class Admin {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Accounts, oldest first; `after` goes on after a page (its `next`). */
  accounts(
    options: { limit?: number | undefined; after?: string | undefined } & CallOptions = {},
  ): Promise<AccountList> {
    const { signal, ...query } = options;
    return fetchJson(this.#session, { path: "/v1/admin/accounts", query, signal });
  }

  /** Make an account, which owns jobs, files and money. */
  createAccount(name: string, options: CallOptions = {}): Promise<NewAccount> {
    return this.#post("/v1/admin/accounts", { name }, options);
  }

  /** Give an account money, a decimal string. */
  credit(
    accountId: string,
    credit: { amount: string; note?: string | undefined },
    options: CallOptions = {},
  ): Promise<Credited> {
    return this.#post(`/v1/admin/accounts/${part(accountId)}/credit`, credit, options);
  }

  /** All keys without their secrets, revoked ones too. */
  keys(options: CallOptions = {}): Promise<KeyList> {
    return fetchJson(this.#session, { path: "/v1/admin/keys", ...options });
  }

  /** Make a key: for a client with its account, for a miner's owner with the miner. The answer has the secret, this once. */
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

  /** Make a key useless from now on. */
  async revokeKey(keyId: string, options: CallOptions = {}): Promise<void> {
    await fetchBytes(this.#session, { method: "DELETE", path: `/v1/admin/keys/${part(keyId)}`, ...options });
  }

  /** Make a token with which miners may join. */
  createEnrolment(
    enrolment: { uses?: number | undefined; validSeconds?: number | undefined } = {},
    options: CallOptions = {},
  ): Promise<Enrolment> {
    return this.#post("/v1/admin/enrolments", enrolment, options);
  }

  /**
   * Make a one-time link to the dashboard. It gives a client's key of the account, an owner's of the miner, an administrator's:
   * those that are named, an administrator's where none is.
   */
  createLogin(
    gives: { accountId?: string | undefined; minerId?: string | undefined; admin?: boolean | undefined } = {},
    options: CallOptions = {},
  ): Promise<NewLogin> {
    return this.#post("/v1/admin/logins", gives, options);
  }

  /** Exclude a miner: its session ends at once, its running jobs go to others, and it cannot register any more. */
  excludeMiner(
    minerId: string,
    exclusion: { reason?: string | undefined } = {},
    options: CallOptions = {},
  ): Promise<Exclusion> {
    return this.#post(`/v1/admin/miners/${part(minerId)}/exclude`, exclusion, options);
  }

  /** Let an excluded miner take part again. */
  async includeMiner(minerId: string, options: CallOptions = {}): Promise<void> {
    await this.#post(`/v1/admin/miners/${part(minerId)}/include`, {}, options);
  }

  /** All miners with what they offer and what they do not, and how many jobs are in each state. */
  overview(options: CallOptions = {}): Promise<Overview> {
    return fetchJson(this.#session, { path: "/v1/admin/overview", ...options });
  }

  #post<T>(path: string, body: object, options: CallOptions): Promise<T> {
    return fetchJson(this.#session, { method: "POST", path, json: snakeCased(body), ...options });
  }
}
