/** `client.admin` and `client.keys`: accounts, keys, tokens and miners. */

import { type CallOptions, fetchJson, part } from "../http/transport.js";
import type {
  AccountList,
  Booked,
  EnrolmentList,
  Exclusion,
  History,
  Key,
  KeyList,
  KeyRole,
  Metric,
  NewAccount,
  NewEnrolment,
  NewKey,
  NewLogin,
  Overview,
  OwnKeyList,
  Period,
  Removal,
  TrailPage,
} from "../models.js";
import { snakeCased } from "../verification/shape.js";
import { Calls, type PageOptions } from "./calls.js";

/** The client's own key, and further keys of its account. */
export class Keys extends Calls {
  /** Return the client's key, without its secret. */
  me(options: CallOptions = {}): Promise<Key> {
    return this.read("/v1/key", options);
  }

  /** Return the valid keys of the client's account, without their secrets, and their maximum number. */
  list(options: CallOptions = {}): Promise<OwnKeyList> {
    return this.read("/v1/keys", options);
  }

  /** Create another key for the client's account. Only this response contains the secret. */
  create(name: string, options: CallOptions = {}): Promise<NewKey> {
    return this.post("/v1/keys", { name }, options);
  }

  /** Revoke another key of the client's account. */
  async revoke(keyId: string, options: CallOptions = {}): Promise<void> {
    await this.remove(`/v1/keys/${part(keyId)}`, options);
  }

  /** Revoke the client's own key. Its next call throws `Unauthorized`. */
  async revokeSelf(options: CallOptions = {}): Promise<void> {
    await this.remove("/v1/key", options);
  }
}

/** Calls for administrators, which require an administrator key. */
export class Admin extends Calls {
  /** Return a page of accounts, oldest first. Pass the `next` of a page as `after` for the following one. */
  accounts(
    options: { limit?: number | undefined; after?: string | undefined } & CallOptions = {},
  ): Promise<AccountList> {
    return this.read("/v1/admin/accounts", options);
  }

  /** Create an account, which owns jobs, files and money. */
  createAccount(name: string, options: CallOptions = {}): Promise<NewAccount> {
    return this.post("/v1/admin/accounts", { name }, options);
  }

  /** Credit an account with an amount (a decimal string). The call is retried, and books once. */
  credit(
    accountId: string,
    credit: { amount: string; note?: string | undefined },
    options: CallOptions = {},
  ): Promise<Booked> {
    return this.#book(`/v1/admin/accounts/${part(accountId)}/credit`, credit, options);
  }

  /** Take an amount back from an account, with `force` even more than it has. The call is retried, and books once. */
  debit(
    accountId: string,
    debit: { amount: string; note?: string | undefined; force?: boolean | undefined },
    options: CallOptions = {},
  ): Promise<Booked> {
    return this.#book(`/v1/admin/accounts/${part(accountId)}/debits`, debit, options);
  }

  /** Return all keys, including revoked ones, without their secrets. */
  keys(options: CallOptions = {}): Promise<KeyList> {
    return this.read("/v1/admin/keys", options);
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
    return this.post("/v1/admin/keys", key, options);
  }

  /** Revoke a key. */
  async revokeKey(keyId: string, options: CallOptions = {}): Promise<void> {
    await this.remove(`/v1/admin/keys/${part(keyId)}`, options);
  }

  /** Create a token with which miners can join. Only this response contains the token. */
  createEnrolment(
    enrolment: {
      uses?: number | undefined;
      validSeconds?: number | undefined;
      note?: string | undefined;
    } = {},
    options: CallOptions = {},
  ): Promise<NewEnrolment> {
    return this.post("/v1/admin/enrolments", enrolment, options);
  }

  /** Return a page of tokens without their secrets, newest first. Pass the `next` of a page as `before` for the following one. */
  enrolments(options: PageOptions = {}): Promise<EnrolmentList> {
    return this.read("/v1/admin/enrolments", options);
  }

  /** Revoke a token. Miners that have enrolled with it stay. */
  async revokeEnrolment(enrolmentId: string, options: CallOptions = {}): Promise<void> {
    await this.remove(`/v1/admin/enrolments/${part(enrolmentId)}`, options);
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
    return this.post("/v1/admin/logins", grants, options);
  }

  /** Exclude a miner: its session ends immediately, its running jobs are queued again, and it can no longer register. */
  excludeMiner(
    minerId: string,
    exclusion: { reason?: string | undefined } = {},
    options: CallOptions = {},
  ): Promise<Exclusion> {
    return this.post(`/v1/admin/miners/${part(minerId)}/exclude`, exclusion, options);
  }

  /** Readmit an excluded miner. */
  async includeMiner(minerId: string, options: CallOptions = {}): Promise<void> {
    await this.post(`/v1/admin/miners/${part(minerId)}/include`, {}, options);
  }

  /** Remove a miner: its running jobs are queued again and its offers end. Its receipts and earnings stay. */
  removeMiner(minerId: string, options: CallOptions = {}): Promise<Removal> {
    const path = `/v1/admin/miners/${part(minerId)}`;
    return fetchJson(this.session, { method: "DELETE", path, ...options });
  }

  /** Return jobs, the queue, money or miners over time, oldest first. */
  history(metric: Metric, period: Period, options: CallOptions = {}): Promise<History> {
    return this.read("/v1/admin/history", { metric, period, ...options });
  }

  /** Return what administrators have done, newest first. A page's `next` as `before` gives the next page. */
  trail(query: { limit?: number; before?: string } = {}, options: CallOptions = {}): Promise<TrailPage> {
    return this.read("/v1/admin/trail", { ...query, ...options });
  }

  /** Return all miners with their services, and the number of jobs in each state. */
  overview(options: CallOptions = {}): Promise<Overview> {
    return this.read("/v1/admin/overview", options);
  }

  #book(path: string, body: object, options: CallOptions): Promise<Booked> {
    return fetchJson(this.session, {
      method: "POST",
      path,
      json: snakeCased(body),
      headers: { "Idempotency-Key": randomKey() },
      repeatable: true,
      ...options,
    });
  }
}

/** Return 128 random bits as text. Pages without TLS have no `crypto.randomUUID`. */
function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}
