/** `client.audits`: which results were checked by another miner, and with what outcome. */

import { type CallOptions, fetchBytes, fetchJson, part, type Session } from "../http/transport.js";
import type { Audit, AuditList, Canary, CanaryList, MinerAudits } from "../models.js";

const AUDITS = "/v1/audits";
const CANARIES = "/v1/admin/canaries";

interface PageOptions extends CallOptions {
  limit?: number | undefined;
  /** `next` of the page before. */
  before?: string | undefined;
}

/** Audits. Calls without further remark are for administrators. */
export class Audits {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Return all audits and further opinions, newest first, to which all given filters apply. */
  list(
    options: { minerId?: string | undefined; verdict?: Audit["verdict"] | undefined } & PageOptions = {},
  ): Promise<AuditList> {
    const { signal, minerId, verdict, ...page } = options;
    const query = { ...page, miner_id: minerId, verdict: verdict ?? undefined };
    return fetchJson(this.#session, { path: AUDITS, query, signal });
  }

  /** Return one audit or further opinion. */
  get(auditId: string, options: CallOptions = {}): Promise<Audit> {
    return fetchJson(this.#session, { path: `${AUDITS}/${part(auditId)}`, ...options });
  }

  /** Return the audit of one of the client's jobs. Throws `NotFound` for a job without one. */
  ofJob(jobId: string, options: CallOptions = {}): Promise<Audit> {
    return fetchJson(this.#session, { path: `/v1/jobs/${part(jobId)}/audit`, ...options });
  }

  /** Return the decided audits of a miner, newest first, and what they have shown so far. Also for the miner's owner. */
  ofMiner(minerId: string, options: PageOptions = {}): Promise<MinerAudits> {
    const { signal, ...query } = options;
    return fetchJson(this.#session, { path: `/v1/miners/${part(minerId)}/audits`, query, signal });
  }

  /** Have another auditor compare the result of a failed audit again, once. Also for the miner's owner. Throws `Conflict`. */
  askForSecondOpinion(minerId: string, auditId: string, options: CallOptions = {}): Promise<Audit> {
    const path = `/v1/miners/${part(minerId)}/audits/${part(auditId)}/second-opinion`;
    return fetchJson(this.#session, { method: "POST", path, ...options });
  }

  /** Submit a completed job again at random moments, as a job with a known answer. */
  createCanary(jobId: string, options: { note?: string | undefined } & CallOptions = {}): Promise<Canary> {
    const { note = "", signal } = options;
    return fetchJson(this.#session, {
      method: "POST",
      path: CANARIES,
      json: { job_id: jobId, note },
      signal,
    });
  }

  /** Return all jobs with known answers. */
  canaries(options: CallOptions = {}): Promise<CanaryList> {
    return fetchJson(this.#session, { path: CANARIES, ...options });
  }

  /** Delete a canary, so that its job is no longer submitted. */
  async deleteCanary(canaryId: string, options: CallOptions = {}): Promise<void> {
    const path = `${CANARIES}/${part(canaryId)}`;
    await fetchBytes(this.#session, { method: "DELETE", path, repeatable: true, ...options });
  }
}
