/** `client.audits`: which results were checked by another miner, and with what outcome. */

import { type CallOptions, part } from "../http/transport.js";
import type { Audit, AuditList, Canary, CanaryList, MinerAudits } from "../models.js";
import { Calls, type PageOptions } from "./calls.js";

const AUDITS = "/v1/audits";
const CANARIES = "/v1/admin/canaries";

/** Audits. Calls without further remark are for administrators. */
export class Audits extends Calls {
  /** Return all audits and further opinions, newest first, to which all given filters apply. */
  list(
    options: { minerId?: string | undefined; verdict?: Audit["verdict"] | undefined } & PageOptions = {},
  ): Promise<AuditList> {
    return this.read(AUDITS, { ...options, verdict: options.verdict ?? undefined });
  }

  /** Return one audit or further opinion. */
  get(auditId: string, options: CallOptions = {}): Promise<Audit> {
    return this.read(`${AUDITS}/${part(auditId)}`, options);
  }

  /** Return the audit of one of the client's jobs. Throws `NotFound` for a job without one. */
  ofJob(jobId: string, options: CallOptions = {}): Promise<Audit> {
    return this.read(`/v1/jobs/${part(jobId)}/audit`, options);
  }

  /** Return the decided audits of a miner, newest first, and what they have shown so far. Also for the miner's owner. */
  ofMiner(minerId: string, options: PageOptions = {}): Promise<MinerAudits> {
    return this.read(`/v1/miners/${part(minerId)}/audits`, options);
  }

  /** Have another auditor compare the result of a failed audit again, once. Also for the miner's owner. Throws `Conflict`. */
  askForSecondOpinion(minerId: string, auditId: string, options: CallOptions = {}): Promise<Audit> {
    const path = `/v1/miners/${part(minerId)}/audits/${part(auditId)}/second-opinion`;
    return this.post(path, undefined, options);
  }

  /** Submit a completed job again at random moments, as a job with a known answer. */
  createCanary(jobId: string, options: { note?: string | undefined } & CallOptions = {}): Promise<Canary> {
    const { note = "", signal } = options;
    return this.post(CANARIES, { jobId, note }, { signal });
  }

  /** Return all jobs with known answers. */
  canaries(options: CallOptions = {}): Promise<CanaryList> {
    return this.read(CANARIES, options);
  }

  /** Delete a canary, so that its job is no longer submitted. */
  async deleteCanary(canaryId: string, options: CallOptions = {}): Promise<void> {
    await this.remove(`${CANARIES}/${part(canaryId)}`, { repeatable: true, ...options });
  }
}
