/** `client.sessions`: how a page of the coordinator signs in, and which browsers are signed in. */

import { type CallOptions, fetchBytes, fetchJson, fetchText, part, type Session } from "../http/transport.js";
import type { BrowserSession, BrowserSessionList, OwnBrowserSession } from "../models.js";
import { camelCased } from "../verification/shape.js";

/** Sessions of browsers. The browser keeps a cookie that scripts cannot read, and no key. */
export class Sessions {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /**
   * Sign this browser in with the token of a login link, or with a key. Make a client with `browser` of the answer then.
   *
   * With a client that acts with a session already, the other roles of that one go on in the new one.
   */
  begin(
    credential: { token: string } | { key: string },
    options: CallOptions = {},
  ): Promise<OwnBrowserSession> {
    return fetchJson(this.#session, {
      method: "POST",
      path: "/v1/session",
      json: credential,
      withCookie: true,
      ...options,
    });
  }

  /** The session of this browser; undefined where it is not signed in. */
  async current(options: CallOptions = {}): Promise<OwnBrowserSession | undefined> {
    const text = await fetchText(this.#session, { path: "/v1/session", withCookie: true, ...options });
    return text === "" ? undefined : (camelCased(JSON.parse(text)) as OwnBrowserSession);
  }

  /** Sign this browser out. */
  async end(options: CallOptions = {}): Promise<void> {
    await fetchBytes(this.#session, { method: "DELETE", path: "/v1/session", withCookie: true, ...options });
  }

  /** The browsers that are signed in with a key of the same account or miner; all for an administrator. */
  async list(options: CallOptions = {}): Promise<BrowserSession[]> {
    const { sessions } = await fetchJson<BrowserSessionList>(this.#session, {
      path: "/v1/sessions",
      ...options,
    });
    return sessions;
  }

  /** Sign another browser out. */
  async revoke(sessionId: string, options: CallOptions = {}): Promise<void> {
    const path = `/v1/sessions/${part(sessionId)}`;
    await fetchBytes(this.#session, { method: "DELETE", path, ...options });
  }
}
