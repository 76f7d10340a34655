/** `client.webhooks`: the secret that signs messages about jobs, and their delivery. */

import { type CallOptions, fetchJson, part, type Session } from "../http/transport.js";
import type { WebhookList, WebhookSecret } from "../models.js";

/** Messages to an address of yours when a job ends. */
export class Webhooks {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Return the secret that signs the account's messages, for any library of Standard Webhooks. The first call creates it. */
  secret(options: CallOptions = {}): Promise<WebhookSecret> {
    return fetchJson(this.#session, { path: "/v1/webhooks/secret", signal: options.signal });
  }

  /** Create a new secret. Until `previousValidUntil`, the previous one signs messages too. */
  rotateSecret(options: CallOptions = {}): Promise<WebhookSecret> {
    const path = "/v1/webhooks/secret/rotate";
    return fetchJson(this.#session, { method: "POST", path, json: {}, signal: options.signal });
  }

  /** Return the messages about a job and their delivery. The list is empty until the job has ended. */
  ofJob(jobId: string, options: CallOptions = {}): Promise<WebhookList> {
    const path = `/v1/jobs/${part(jobId)}/webhooks`;
    return fetchJson(this.#session, { path, signal: options.signal });
  }
}
