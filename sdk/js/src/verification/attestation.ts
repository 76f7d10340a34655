/** The coordinator's attestations in a receipt: that it assigned the job to this key at this fence, and accepted the result. */

import { FormatError, VerificationError } from "../errors.js";
import { canonicalJson } from "./canonical.js";
import { verifyDetached } from "./dsse.js";
import { ATTESTATION_TYPE } from "./statement.js";
import { exact, FENCE, HEX_SHA256, JOB_ID, MINER_ID, text, utcTime } from "./strict.js";

/** The kinds of a receipt's attestations, in order. */
export const ATTESTATION_KINDS = ["assignment", "completion"] as const;

const SIGNED_FIELDS = ["type", "timestamp", "statement_sha256", "job_id", "miner_id", "fence"] as const;

/** An attestation with a valid signature. */
export interface Attestation {
  kind: string;
  timestamp: string;
  statementSha256: string;
  jobId: string;
  minerId: string;
  fence: string;
}

/**
 * Verify an attestation's form and signature.
 *
 * Throws `FormatError` for a wrong form, and `VerificationError` unless `logPublicKey` (32 bytes) signed it.
 */
export function verifyAttestation(attestation: unknown, logPublicKey: Uint8Array): Attestation {
  const { signature, ...fields } = exact(attestation, [...SIGNED_FIELDS, "signature"], "The attestation");
  const sig = text(signature, "The attestation's signature");
  if (fields.type !== "assignment" && fields.type !== "completion") {
    throw new FormatError(`The attestation's type is not one of ${ATTESTATION_KINDS.join(", ")}.`);
  }
  const read = {
    kind: fields.type,
    timestamp: utcTime(fields.timestamp, "The attestation's timestamp"),
    statementSha256: text(fields.statement_sha256, "The attestation's statement_sha256", HEX_SHA256),
    jobId: text(fields.job_id, "The attestation's job_id", JOB_ID),
    minerId: text(fields.miner_id, "The attestation's miner_id", MINER_ID),
    fence: text(fields.fence, "The attestation's fence", FENCE),
  };
  if (!verifyDetached(ATTESTATION_TYPE, canonicalJson(fields), sig, logPublicKey)) {
    throw new VerificationError("The attestation's signature does not verify under the log's key.");
  }
  return read;
}
