/** What the groups of calls have in common: the client's session, and the kinds of requests that they send with it. */

import { type Call, type CallOptions, fetchBytes, fetchJson, type Session } from "../http/transport.js";
import { snakeCased } from "../verification/shape.js";

/** A page of a list, newest first. */
export interface PageOptions extends CallOptions {
  limit?: number | undefined;
  /** `next` of the page before. */
  before?: string | undefined;
}

/** A page of a list, by its position. */
export interface OffsetOptions extends CallOptions {
  limit?: number | undefined;
  offset?: number | undefined;
}

type QueryOptions = CallOptions & Record<string, unknown>;
type RequestOptions = Pick<Call, "signal" | "repeatable" | "withCookie">;

/** A group of calls. */
export abstract class Calls {
  // Private, because it has the key, which must not be printed with the object.
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  protected get session(): Session {
    return this.#session;
  }

  /** Send a GET request. All options but the signal are its query, under the API's names. */
  protected read<T>(path: string, { signal, ...query }: CallOptions | QueryOptions): Promise<T> {
    return fetchJson(this.#session, { path, query: snakeCased(query) as Call["query"], signal });
  }

  /** Send a POST request. The names of `body` are converted to the API's. */
  protected post<T>(path: string, body: object | undefined, options: RequestOptions): Promise<T> {
    return fetchJson(this.#session, { method: "POST", path, json: body && snakeCased(body), ...options });
  }

  /** Send a DELETE request that returns nothing. */
  protected async remove(path: string, options: RequestOptions): Promise<void> {
    await fetchBytes(this.#session, { method: "DELETE", path, ...options });
  }
}
