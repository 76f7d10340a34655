/**
 * Verifies receipts offline with only the log's public key.
 *
 * Everything in a receipt must follow from signed data. The verification reports for each part whether it does.
 */

import { piecesOf } from "../bytes.js";
import { scaled } from "../decimals.js";
import { FormatError } from "../errors.js";
import type { Receipt, ReceiptBundle } from "../models.js";
import type { ReplyKey } from "../sealed/keys.js";
import type { SealingMemory } from "../sealed/memory.js";
import { ATTESTATION_KINDS, type Attestation, verifyAttestation } from "./attestation.js";
import { BUNDLE_FORMAT, wireReceipt } from "./bundle.js";
import { canonicalJson, decodeBase64, parseJson, sha256Hex } from "./canonical.js";
import { newDigest } from "./digest.js";
import { openEnvelope, PUBLIC_KEY_SIZE } from "./dsse.js";
import { minerId, parseVkey } from "./keys.js";
import { parseProof, receiptLeaf, requireInclusion } from "./log.js";
import { outputFiles } from "./outputs.js";
import { expectWitnesses, Policy } from "./policy.js";
import { type CheckedArtifact, Report, type Verification } from "./report.js";
import type { Json } from "./shape.js";
import { PAYLOAD_TYPE, parseStatement, type Statement, uncappedPrice } from "./statement.js";
import { exact, items, text } from "./strict.js";

/** How far the times in a statement may lie outside its attestations, since the miner's and the coordinator's clocks differ. */
export const CLOCK_SKEW_SECONDS = 300;

const RECEIPT_FIELDS = [
  ...(["receipt_id", "job_id", "miner_id", "signature", "attestations", "created_at", "envelope"] as const),
] as const;
const BUNDLE_FIELDS = ["format", "receipt", "results", "proof"] as const;

/** The trust anchor: a log's public key (a vkey), or a policy with logs and witnesses. */
export type Trust = string | Policy;

/** Options of verifying a receipt. */
export interface VerifyOptions {
  /** The coordinator's public log key, or a policy. */
  logKey: Trust;
  /** The `results` of the job, to verify their digest, units and output files. A bundle contains them. */
  results?: Json | undefined;
  /** A `tlog-proof@v1` that the log contains the receipt. A bundle contains it. */
  proof?: string | undefined;
  /** Files by artifact id or file name, to verify their digests. */
  artifacts?: Record<string, CheckedArtifact> | undefined;
  /** The client's key, to open the results and files of a sealed job and verify the digests of their content. */
  replyKey?: ReplyKey | undefined;
  /** Where the client remembers what it sealed, to compare that with the statement. By default as for a client. */
  sealingMemory?: SealingMemory | undefined;
}

type WireReceipt = Record<(typeof RECEIPT_FIELDS)[number], unknown>;

/**
 * Verify that everything in a receipt is signed or follows from signed data.
 *
 * @param receipt - An exported bundle (also its text), a receipt of `client.receipts.get`, or one with the API's names. Any
 * value is accepted: problems are reported, never thrown. Throws `FormatError` only for a malformed `logKey`.
 */
export async function verifyReceipt(
  receipt: ReceiptBundle | Receipt | object | string | Uint8Array,
  options: VerifyOptions,
): Promise<Verification> {
  const policy = typeof options.logKey === "string" ? Policy.ofLog(options.logKey) : options.logKey;
  const report = new Report();
  const isText = typeof receipt === "string" || receipt instanceof Uint8Array;
  const read = report.attempt("bundle", () => (isText ? parseJson(receipt) : (receipt as Json)));
  if (read === undefined) return report.verification();
  if (isBundle(read)) {
    if (!verifyBundle(report, read, policy)) return report.verification();
  } else {
    verifySigned(report, wireReceipt(read), policy);
    if (options.proof !== undefined) verifyProofOf(report, read, options.proof, policy);
    else if (policy.quorum !== "none") {
      report.expect("witnesses", false, "", "the policy asks for witnesses, which only a proof can show");
    }
    if (options.results !== undefined) verifyResults(report, options.results);
  }
  await verifyContents(report, resultsOf(read) ?? options.results, options);
  return report.verification();
}

function resultsOf(bundle: Json): Json | undefined {
  return typeof bundle === "object" && bundle !== null && "results" in bundle ? bundle.results : undefined;
}

/** Verify the given files and, with the client's key, what is sealed. */
async function verifyContents(
  report: Report,
  results: Json | undefined,
  { artifacts = {}, replyKey, sealingMemory }: VerifyOptions,
): Promise<void> {
  for (const [name, artifact] of Object.entries(artifacts)) await verifyArtifact(report, name, artifact);
  if (replyKey === undefined) return;
  // Loaded on demand, because few receipts are of sealed jobs.
  const { verifySealed } = await import("../sealed/verification.js");
  await verifySealed(report, { replyKey, sealingMemory }, results, artifacts);
}

function isBundle(value: unknown): boolean {
  return typeof value === "object" && value !== null && ("format" in value || "receipt" in value);
}

/** Verify a bundle. Returns whether it is one. */
function verifyBundle(report: Report, bundle: unknown, policy: Policy): boolean {
  const fields = report.attempt("bundle", () => exact(bundle, BUNDLE_FIELDS, "The bundle"));
  if (fields === undefined) return false;
  const isFormat = fields.format === BUNDLE_FORMAT;
  if (!report.expect("bundle", isFormat, "is in the exported form", `its format is not ${BUNDLE_FORMAT}`)) {
    return false;
  }
  verifySigned(report, fields.receipt, policy);
  verifyProofOf(report, fields.receipt, fields.proof, policy);
  verifyResults(report, fields.results);
  return true;
}

function verifySigned(report: Report, receipt: unknown, policy: Policy): void {
  const fields = report.attempt("receipt", () => exact(receipt, RECEIPT_FIELDS, "The receipt"));
  if (fields === undefined) return;
  const signature = report.attempt("signature", () => readSignature(fields));
  if (signature === undefined) return;
  const { sig, publicKey } = signature;
  const payload = report.attempt("miner signature", () =>
    openEnvelope(fields.envelope, publicKey, PAYLOAD_TYPE),
  );
  if (payload === undefined) return;
  const identifier = minerId(publicKey);
  report.signed = report.expect("miner signature", true, `verifies under the key of ${identifier}`, "");
  const statement = report.attempt("statement", () => parseStatement(payload));
  if (statement === undefined) return;
  report.statement = statement;
  verifyFields(report, fields, sig, statement, identifier);
  const logKey = policy.logKey(statement.origin);
  if (logKey === undefined) {
    report.expect("origin", false, "", `the policy does not name the log ${statement.origin}`);
    return;
  }
  const log = parseVkey(logKey);
  report.expect(
    "origin",
    statement.origin === log.name,
    `the statement is for the log ${log.name}`,
    `the statement is for the log ${statement.origin}, not for ${log.name}`,
  );
  const attestations = verifyAttestations(report, fields, log.publicKey, sha256Hex(payload), statement);
  if (attestations.length === ATTESTATION_KINDS.length) {
    report.expect(
      "created_at",
      fields.created_at === attestations.at(-1)?.timestamp,
      "is the completion's timestamp",
      "differs from the completion's timestamp",
    );
    const [assignment, completion] = attestations;
    if (assignment && completion) verifyTimes(report, statement, assignment, completion);
  }
  verifyPrice(report, statement);
}

function readSignature(fields: WireReceipt): { sig: unknown; publicKey: Uint8Array } {
  const signature = exact(fields.signature, ["sig", "public_key"], "The receipt's signature");
  const publicKey = decodeBase64(text(signature.public_key, "The receipt's public_key"));
  if (publicKey.length !== PUBLIC_KEY_SIZE) {
    throw new FormatError("The receipt's public_key does not have 32 bytes.");
  }
  return { sig: signature.sig, publicKey };
}

function verifyFields(
  report: Report,
  fields: WireReceipt,
  sig: unknown,
  statement: Statement,
  identifier: string,
): void {
  const expected = {
    job_id: statement.jobId,
    receipt_id: statement.jobId.replace(/^job_/, "receipt_"),
    miner_id: identifier,
  };
  for (const name of ["job_id", "receipt_id", "miner_id"] as const) {
    const value = expected[name];
    report.expect(name, fields[name] === value, `is ${value}`, `should be ${value}, from what is signed`);
  }
  report.expect(
    "statement",
    statement.minerId === identifier,
    "names the miner that signed it",
    `names ${statement.minerId}, but ${identifier} signed it`,
  );
  report.expect(
    "signature",
    sig === (fields.envelope as { signatures: [{ sig: string }] }).signatures[0].sig,
    "repeats the envelope's signature",
    "sig differs from the envelope's signature",
  );
}

/** Return the attestations that are signed and agree with the statement. */
function verifyAttestations(
  report: Report,
  fields: WireReceipt,
  logPublicKey: Uint8Array,
  digest: string,
  statement: Statement,
): Attestation[] {
  const entries = report.attempt("attestations", () =>
    items(fields.attestations, "The list of attestations"),
  );
  if (entries === undefined) return [];
  const isTwo = entries.length === ATTESTATION_KINDS.length;
  if (!report.expect("attestations", isTwo, "are two", "are not exactly an assignment and a completion")) {
    return [];
  }
  const valid: Attestation[] = [];
  for (const [index, kind] of ATTESTATION_KINDS.entries()) {
    const attestation = report.attempt(kind, () => verifyAttestation(entries[index], logPublicKey));
    if (attestation === undefined) continue;
    const compared = [
      ["type", attestation.kind, kind],
      ["statement_sha256", attestation.statementSha256, digest],
      ["job_id", attestation.jobId, statement.jobId],
      ["miner_id", attestation.minerId, statement.minerId],
      ["fence", attestation.fence, statement.fence],
    ];
    const wrong = compared.filter(([, found, expected]) => found !== expected).map(([name]) => name);
    const bad = `${wrong.join(", ")} differs from the signed statement`;
    if (report.expect(kind, wrong.length === 0, "is attested by the log's key", bad)) valid.push(attestation);
  }
  report.attested = valid.length;
  return valid;
}

/** Verify that a run starts after its assignment, ends before its completion, and does not end before it starts. */
function verifyTimes(
  report: Report,
  { startedAt, finishedAt }: Statement,
  assignment: Attestation,
  completion: Attestation,
): void {
  const [started, finished] = [Date.parse(startedAt), Date.parse(finishedAt)];
  const skew = 1000 * CLOCK_SKEW_SECONDS;
  const problems: string[] = [];
  if (started - Date.parse(assignment.timestamp) < -skew) {
    problems.push(`started_at ${startedAt} is before the assignment at ${assignment.timestamp}`);
  }
  if (finished < started) {
    problems.push(`finished_at ${finishedAt} is before started_at`);
  } else if (finished - Date.parse(completion.timestamp) > skew) {
    problems.push(`finished_at ${finishedAt} is after the completion at ${completion.timestamp}`);
  }
  report.expect("times", problems.length === 0, "lie between assignment and completion", problems.join("; "));
}

function verifyPrice(report: Report, { units, unitPrice, price }: Statement): void {
  const full = uncappedPrice(units, unitPrice);
  report.expect(
    "price",
    scaled(price) <= scaled(full),
    `is ${price}`,
    `is ${price}, more than units x unit_price (${full})`,
  );
}

/** Verify that a checkpoint that the policy accepts includes the receipt's leaf. */
function verifyProofOf(report: Report, receipt: unknown, textOfProof: unknown, policy: Policy): void {
  const { statement } = report;
  if (statement === undefined) return;
  const leaf = receiptLeaf((receipt as { envelope: object }).envelope);
  const proof = report.attempt("proof", () => parseProof(text(textOfProof, "The proof")));
  if (proof === undefined) return;
  const checkpoint = report.attempt("checkpoint", () => policy.open(proof.note));
  if (checkpoint === undefined) return;
  report.expect(
    "checkpoint",
    checkpoint.origin === statement.origin,
    `is signed by the log, of ${checkpoint.size} leaves`,
    `is of the log ${checkpoint.origin}, not of the statement's`,
  );
  const included = report.attempt("inclusion", () => {
    requireInclusion(leaf, proof, checkpoint);
    return true;
  });
  if (included) {
    report.logIndex = Number(proof.index);
    report.expect("inclusion", true, `the receipt is leaf ${proof.index} of the log`, "");
  }
  expectWitnesses(report, policy, proof.note);
}

function verifyResults(report: Report, results: unknown): void {
  const { statement } = report;
  if (statement === undefined) return;
  const data = report.attempt("results", () => canonicalJson(results));
  if (data === undefined) return;
  const isSigned = sha256Hex(data) === statement.subject[0]?.sha256;
  const bad = "SHA-256 differs from the signed statement";
  if (!report.expect("results", isSigned, "have the signed SHA-256", bad)) return;
  const units = typeof results === "object" && results !== null && "units" in results ? results.units : null;
  report.expect(
    "units",
    isSameNumber(units, statement.units),
    "agree with the results",
    "differ from those in the results",
  );
  const files = outputFiles(results as Json).map(({ name, artifactId }) => ({
    name,
    sha256: artifactId.slice("sha256:".length),
  }));
  const signed = statement.subject.slice(1);
  report.expect(
    "files",
    files.length === signed.length &&
      files.every(
        ({ name, sha256 }, index) => name === signed[index]?.name && sha256 === signed[index].sha256,
      ),
    files.length === 1
      ? "1 output file matches its signature"
      : `${files.length} output files match their signatures`,
    "the output files of the results are not those of the signed statement",
  );
}

function isSameNumber(value: unknown, expected: string): boolean {
  if (typeof value !== "number" && typeof value !== "string") return false;
  try {
    return scaled(String(value)) === scaled(expected);
  } catch {
    return false;
  }
}

async function verifyArtifact(report: Report, name: string, artifact: CheckedArtifact): Promise<void> {
  const { statement } = report;
  if (statement === undefined) return;
  const label = `artifact ${name}`;
  const digests = statement.subject
    .slice(1)
    .filter((item) => name === item.name || name === `sha256:${item.sha256}`)
    .map((item) => item.sha256);
  if (digests.length === 0) {
    report.expect(label, false, "", "the signed statement has no such output");
    return;
  }
  let digest: string;
  try {
    digest = await digestOf(artifact);
  } catch (error) {
    report.expect(label, false, "", `cannot be read (${(error as Error).message})`);
    return;
  }
  report.expect(
    label,
    digests.includes(digest),
    "has the SHA-256 of a signed output",
    "SHA-256 differs from the signed statement",
  );
}

async function digestOf(artifact: CheckedArtifact): Promise<string> {
  if (typeof artifact === "string") return artifact.replace(/^sha256:/, "");
  const hash = newDigest();
  for await (const piece of piecesOf(new Blob([artifact as BlobPart]).stream())) hash.update(piece);
  return hash.hex();
}
