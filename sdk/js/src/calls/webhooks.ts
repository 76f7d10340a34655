/** `client.webhooks`: the secret that signs messages about jobs, and their delivery. */

import { type CallOptions, part } from "../http/transport.js";
import type { WebhookList, WebhookSecret } from "../models.js";
import { Calls } from "./calls.js";

/** Messages to an address of yours when a job ends. */
export class Webhooks extends Calls {
  /** Return the secret that signs the account's messages, for any library of Standard Webhooks. The first call creates it. */
  secret(options: CallOptions = {}): Promise<WebhookSecret> {
    return this.read("/v1/webhooks/secret", options);
  }

  /** Create a new secret. Until `previousValidUntil`, the previous one signs messages too. */
  rotateSecret(options: CallOptions = {}): Promise<WebhookSecret> {
    return this.post("/v1/webhooks/secret/rotate", {}, options);
  }

  /** Return the messages about a job and their delivery. The list is empty until the job has ended. */
  ofJob(jobId: string, options: CallOptions = {}): Promise<WebhookList> {
    return this.read(`/v1/jobs/${part(jobId)}/webhooks`, options);
  }
}
