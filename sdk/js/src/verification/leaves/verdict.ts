/** Verdicts: the leaf of the log for each decided audit of a miner's result, and for each sanction that follows. */

import { FormatError } from "../../errors.js";
import { canonicalJson, parseJson, sameBytes, sha256Hex } from "../canonical.js";
import { parseDecimal } from "../statement.js";
import { exact, HEX_SHA256, items, JOB_ID, MINER_ID, text, utcTime } from "../strict.js";

export const VERDICT_TYPE = "https://aitbc.bubuit.net/verdict/v1";

const AUDIT_ID = /^audit_[0-9A-Za-z_-]{1,64}$/;
const RECEIPT_ID = /^receipt_[0-9A-Za-z_-]{1,64}$/;
const PROBABILITY = /^[0-9](\.[0-9]+)?e-[0-9]{2,3}$/;
const KIND = /^(?:check|canary|third|second_opinion)$/;
const OUTCOME = /^(?:pass|fail|unproven)$/;
const MAX_OPINIONS = 8;
const FIELDS = [
  ...(["_type", "audit_id", "parent", "kind", "job_id", "receipt_id", "miner_id", "service"] as const),
  ...(["model", "verdict", "opinions", "odd_ones", "sanction", "decided_at"] as const),
] as const;
const OPINION_FIELDS = ["audit_id", "kind", "receipt_id", "verdict", "comparison_sha256"] as const;

/** What an auditor found. `receiptId` is that of the audit job, which names the auditor; null if it gave no answer. */
export interface LoggedOpinion {
  auditId: string;
  kind: string;
  receiptId: string | null;
  verdict: string;
  /** See `comparisonSha256`. */
  comparisonSha256: string;
}

/**
 * The decision of an audit about the result of `jobId` by `minerId`.
 *
 * `oddOnes` are auditors whose opinion two others have refuted. `parent` is the audit to which a second opinion belongs. A
 * verdict with a `sanction` repeats one without: `forfeited` is the pay that the miner lost, and `probability` at most that of
 * sanctioning an honest miner.
 */
export interface Verdict {
  auditId: string;
  parent: string | null;
  kind: string;
  jobId: string;
  receiptId: string;
  minerId: string;
  service: string;
  model: string | null;
  verdict: string;
  opinions: LoggedOpinion[];
  oddOnes: string[];
  sanction: { probability: string; forfeited: string } | null;
  decidedAt: string;
}

/** Return the digest of what an auditor found, as an opinion in the log has it. The names are those of the API's answers. */
export function comparisonSha256(found: {
  distances: Record<string, number>;
  limits: Record<string, number>;
  where: string;
  reason: string;
}): string {
  const { distances, limits, where, reason } = found;
  return sha256Hex(canonicalJson({ distances, limits, where, reason }));
}

/** Parse a verdict's leaf. Throws `FormatError` unless it is canonical and its values are consistent. */
export function parseVerdict(leaf: Uint8Array): Verdict {
  const parsed = parseJson(leaf);
  const fields = exact(parsed, FIELDS, "The verdict");
  const word = (name: (typeof FIELDS)[number], pattern?: RegExp) =>
    text(fields[name], `The verdict's ${name}`, pattern);
  const jobId = word("job_id", JOB_ID);
  const verdict = {
    auditId: word("audit_id", AUDIT_ID),
    parent: fields.parent === null ? null : word("parent", AUDIT_ID),
    kind: word("kind", KIND),
    jobId,
    receiptId: jobId.replace(/^job_/, "receipt_"),
    minerId: word("miner_id", MINER_ID),
    service: word("service"),
    model: fields.model === null ? null : word("model"),
    verdict: word("verdict", OUTCOME),
    opinions: items(fields.opinions, "The verdict's opinions").map(parseOpinion),
    oddOnes: items(fields.odd_ones, "The verdict's odd_ones").map((auditor) =>
      text(auditor, "The verdict's odd_ones", MINER_ID),
    ),
    sanction: fields.sanction === null ? null : parseSanction(fields.sanction),
    decidedAt: utcTime(fields.decided_at, "The verdict's decided_at"),
  };
  if ((verdict.kind === "second_opinion") !== (verdict.parent !== null)) {
    throw new FormatError("The verdict must name a parent if it is a second opinion, and otherwise none.");
  }
  if (verdict.opinions.length > MAX_OPINIONS) throw new FormatError("The verdict has too many opinions.");
  const ours = fields._type === VERDICT_TYPE && fields.receipt_id === verdict.receiptId;
  if (!ours || !sameBytes(canonicalJson(parsed), leaf)) {
    throw new FormatError("The verdict is not in its canonical form.");
  }
  return verdict;
}

function parseOpinion(value: unknown): LoggedOpinion {
  const fields = exact(value, OPINION_FIELDS, "The opinion");
  const receiptId = fields.receipt_id;
  return {
    auditId: text(fields.audit_id, "The opinion's audit_id", AUDIT_ID),
    kind: text(fields.kind, "The opinion's kind", KIND),
    receiptId: receiptId === null ? null : text(receiptId, "The opinion's receipt_id", RECEIPT_ID),
    verdict: text(fields.verdict, "The opinion's verdict", OUTCOME),
    comparisonSha256: text(fields.comparison_sha256, "The opinion's comparison_sha256", HEX_SHA256),
  };
}

function parseSanction(value: unknown): { probability: string; forfeited: string } {
  const { probability, forfeited } = exact(value, ["probability", "forfeited"], "The sanction");
  return {
    probability: text(probability, "The sanction's probability", PROBABILITY),
    forfeited: parseDecimal(forfeited, "The sanction's forfeited"),
  };
}
