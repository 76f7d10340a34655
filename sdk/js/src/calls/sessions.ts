/** `client.sessions`: signing in from a page of the coordinator, and the signed-in browsers. */

import { type CallOptions, fetchText, part } from "../http/transport.js";
import type { BrowserSession, BrowserSessionList, OwnBrowserSession } from "../models.js";
import { camelCased } from "../verification/shape.js";
import { Calls } from "./calls.js";

/** Browser sessions. The browser stores a cookie that scripts cannot read, and no key. */
export class Sessions extends Calls {
  /**
   * Sign this browser in with the token of a login link, or with a key. Then create a client with the option `browser`.
   *
   * If this client uses a session already, the new session keeps its other roles.
   */
  begin(
    credential: { token: string } | { key: string },
    options: CallOptions = {},
  ): Promise<OwnBrowserSession> {
    return this.post("/v1/session", credential, { withCookie: true, ...options });
  }

  /** Return the session of this browser, or undefined if it is not signed in. */
  async current(options: CallOptions = {}): Promise<OwnBrowserSession | undefined> {
    const text = await fetchText(this.session, { path: "/v1/session", withCookie: true, ...options });
    return text === "" ? undefined : (camelCased(JSON.parse(text)) as OwnBrowserSession);
  }

  /** Sign this browser out. */
  async end(options: CallOptions = {}): Promise<void> {
    await this.remove("/v1/session", { withCookie: true, ...options });
  }

  /** Return the browsers signed in with a key of the same account or miner; for an administrator, all. */
  async list(options: CallOptions = {}): Promise<BrowserSession[]> {
    return (await this.read<BrowserSessionList>("/v1/sessions", options)).sessions;
  }

  /** Sign another browser out. */
  async revoke(sessionId: string, options: CallOptions = {}): Promise<void> {
    await this.remove(`/v1/sessions/${part(sessionId)}`, options);
  }
}
