/**
 * The statement that a miner signs about a job: an in-toto Statement v1 with this network's predicate, and its price.
 *
 * Source: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and docs/reference/miner-protocol.md.
 */

import { productRoundedUp, scaled, shortest } from "../decimals.js";
import { FormatError } from "../errors.js";
import { canonicalJson, parseJson, sameBytes } from "./canonical.js";
import type { JsonObject } from "./shape.js";
import { exact, FENCE, HEX_SHA256, items, JOB_ID, MINER_ID, text, utcTime } from "./strict.js";

export const STATEMENT_TYPE = "https://in-toto.io/Statement/v1";
export const PREDICATE_TYPE = "https://aitbc.bubuit.net/job-receipt/v1";
export const PAYLOAD_TYPE = "application/vnd.in-toto+json";
export const ATTESTATION_TYPE = "application/vnd.aitbc.attestation+json";
/** The name of the first subject: the canonical JSON of the job's results. */
export const RESULT_NAME = "result.json";

const MONEY_DECIMALS = 8;
const UNIT_DECIMALS = 30;
const DECIMAL = /^(?:0|[1-9][0-9]{0,19})(?:\.[0-9]{0,29}[1-9])?$/;

/** The name and the SHA-256 (lower-case hex) of an output, an input, or a model's weights. */
export interface NamedDigest {
  name: string;
  sha256: string;
}

/**
 * A miner's statement about one job. Times are RFC 3339 UTC strings, amounts decimal strings.
 *
 * `subject` starts with `result.json` (the canonical results), followed by the output files in the order of `outputFiles`.
 * `inputs` are sorted by name.
 */
export interface Statement {
  subject: NamedDigest[];
  jobId: string;
  minerId: string;
  fence: string;
  origin: string;
  specDigest: string;
  inputs: NamedDigest[];
  service: string;
  runnerName: string;
  runnerVersion: string;
  model: NamedDigest | null;
  deviceKind: string;
  deviceName: string;
  deviceUuid: string | null;
  startedAt: string;
  finishedAt: string;
  units: string;
  unit: string;
  unitPrice: string;
  price: string;
  /** The sandbox of the programs that read the client's files: "bubblewrap", "landlock" or "none"; null if not stated. */
  sandbox: string | null;
  /** The digest of the canonical JSON that the miner returned with the results for a later audit; null without any. */
  evidenceSha256: string | null;
  /** The keys and salted digests of a sealed job; null for a job in clear. */
  sealed: StatedSealing | null;
  /** The attestation of the machine, NOT verified; null without one. */
  attestation: { type: string; evidence: JsonObject } | null;
}

/** What a statement has about a sealed job. The digests are HMACs of the plaintexts, which only the client can compute. */
export interface StatedSealing {
  version: number;
  keyId: string;
  requestId: string;
  digests: { request: string; results: string; inputs: string[]; outputs: string[] };
}

const SEALED_VERSION = 1;
const WORD = /^[a-z][a-z0-9-]{0,39}$/;
const HEX_ID = /^[0-9a-f]{32}$/;
const PREDICATE_FIELDS = [
  ...(["job_id", "miner_id", "fence", "origin", "spec_digest", "inputs", "service", "runner"] as const),
  ...(["model", "device", "started_at", "finished_at", "units", "unit", "unit_price", "price"] as const),
] as const;
/** Fields that are absent without a value, as in all old statements. */
const OPTIONAL_FIELDS = ["sandbox", "evidence_sha256", "sealed", "attestation"] as const;
type PredicateField = (typeof PREDICATE_FIELDS)[number] | (typeof OPTIONAL_FIELDS)[number];

/**
 * Parse a signed payload. Throws `FormatError` unless it is the canonical JSON of a statement of this network, with every
 * value in its canonical form.
 */
export function parseStatement(payload: Uint8Array): Statement {
  const parsed = parseJson(payload);
  const top = exact(parsed, ["_type", "subject", "predicateType", "predicate"], "The statement");
  const given = typeof top.predicate === "object" && top.predicate !== null ? top.predicate : {};
  const optional = OPTIONAL_FIELDS.filter((name) => Object.hasOwn(given, name));
  const fields: readonly PredicateField[] = [...PREDICATE_FIELDS, ...optional];
  const predicate = exact(top.predicate, fields, "The statement's predicate");
  const statement = {
    subject: digests(top.subject, "subject"),
    inputs: digests(predicate.inputs, "inputs"),
    model: predicate.model === null ? null : digest(predicate.model, "The statement's model"),
    ...readPredicate(predicate),
    ...readOptional(predicate),
  };
  if (statement.subject[0]?.name !== RESULT_NAME) {
    throw new FormatError(`The statement's first subject is not ${RESULT_NAME}.`);
  }
  const { inputs } = statement;
  if (inputs.some(({ name }, index) => index > 0 && isAfter(inputs[index - 1]?.name ?? "", name))) {
    throw new FormatError("The statement's inputs are not sorted by name.");
  }
  const ours = top._type === STATEMENT_TYPE && top.predicateType === PREDICATE_TYPE;
  if (!ours || !sameBytes(canonicalJson(parsed), payload)) {
    throw new FormatError("The statement is not in its canonical form, or not of this network's type.");
  }
  return statement;
}

function readPredicate(predicate: Record<(typeof PREDICATE_FIELDS)[number], unknown>) {
  const runner = exact(predicate.runner, ["name", "version"], "The statement's runner");
  const device = exact(predicate.device, ["kind", "name", "uuid"], "The statement's device");
  const words = (value: unknown, name: string, pattern?: RegExp) =>
    text(value, `The statement's ${name}`, pattern);
  return {
    jobId: words(predicate.job_id, "job_id", JOB_ID),
    minerId: words(predicate.miner_id, "miner_id", MINER_ID),
    fence: words(predicate.fence, "fence", FENCE),
    origin: words(predicate.origin, "origin"),
    specDigest: words(predicate.spec_digest, "spec_digest", HEX_SHA256),
    service: words(predicate.service, "service"),
    runnerName: words(runner.name, "runner_name"),
    runnerVersion: words(runner.version, "runner_version"),
    deviceKind: words(device.kind, "device_kind"),
    deviceName: words(device.name, "device_name"),
    deviceUuid: device.uuid === null ? null : words(device.uuid, "device_uuid"),
    startedAt: utcTime(predicate.started_at, "The statement's started_at"),
    finishedAt: utcTime(predicate.finished_at, "The statement's finished_at"),
    units: parseDecimal(predicate.units, "The statement's units", UNIT_DECIMALS),
    unit: words(predicate.unit, "unit"),
    unitPrice: parseDecimal(predicate.unit_price, "The statement's unit_price"),
    price: parseDecimal(predicate.price, "The statement's price"),
  };
}

function readOptional({ sandbox, evidence_sha256: evidence, sealed, attestation }: Record<string, unknown>) {
  return {
    sandbox: sandbox === undefined ? null : text(sandbox, "The statement's sandbox", WORD),
    evidenceSha256:
      evidence === undefined ? null : text(evidence, "The statement's evidence_sha256", HEX_SHA256),
    sealed: sealed === undefined ? null : readSealed(sealed),
    attestation: attestation === undefined ? null : readAttestation(attestation),
  };
}

function readSealed(value: unknown): StatedSealing {
  const where = "The statement's sealed";
  const fields = exact(value, ["version", "key_id", "request_id", "digests"], where);
  if (fields.version !== SEALED_VERSION) throw new FormatError(`${where} has an unknown version.`);
  const found = exact(fields.digests, ["request", "results", "inputs", "outputs"], `${where} (digests)`);
  const hmac = (digest: unknown) => text(digest, `${where} (digests)`, HEX_SHA256);
  const hmacs = (list: unknown) => items(list, `${where} (digests)`).map(hmac);
  return {
    version: fields.version,
    keyId: text(fields.key_id, `${where} (key_id)`, HEX_ID),
    requestId: text(fields.request_id, `${where} (request_id)`, HEX_ID),
    digests: {
      request: hmac(found.request),
      results: hmac(found.results),
      inputs: hmacs(found.inputs),
      outputs: hmacs(found.outputs),
    },
  };
}

function readAttestation(value: unknown): { type: string; evidence: JsonObject } {
  const where = "The statement's attestation";
  const { type, evidence } = exact(value, ["type", "evidence"], where);
  if (typeof evidence !== "object" || evidence === null || Array.isArray(evidence)) {
    throw new FormatError(`${where} (evidence) is not an object.`);
  }
  return { type: text(type, `${where} (type)`, WORD), evidence: evidence as JsonObject };
}

function digests(value: unknown, where: string): NamedDigest[] {
  return items(value, `The statement's ${where}`).map((item) =>
    digest(item, `An entry of the statement's ${where}`),
  );
}

function digest(value: unknown, where: string): NamedDigest {
  const fields = exact(value, ["name", "digest"], where);
  const { sha256 } = exact(fields.digest, ["sha256"], `${where} (digest)`);
  return {
    name: text(fields.name, `${where} (name)`),
    sha256: text(sha256, `${where} (sha256)`, HEX_SHA256),
  };
}

/** Return whether `one` sorts after `other` by code points, unlike JavaScript's own comparison. */
function isAfter(one: string, other: string): boolean {
  const [left, right] = [[...one], [...other]];
  for (const [index, character] of left.entries()) {
    const difference = (character.codePointAt(0) ?? 0) - (right[index]?.codePointAt(0) ?? -1);
    if (difference !== 0) return difference > 0;
  }
  return false;
}

/** Return a job's price: units x unit price, rounded up to 8 decimals, at most `maxCost`. Decimal strings. */
export function jobPrice(units: string, unitPrice: string, maxCost: string): string {
  const full = uncappedPrice(units, unitPrice);
  return scaled(full) > scaled(maxCost) ? shortest(scaled(maxCost)) : full;
}

/** Return units x unit price, rounded up to 8 decimals. Decimal strings. Throws `FormatError` for negative numbers. */
export function uncappedPrice(units: string, unitPrice: string): string {
  if (scaled(units) < 0n || scaled(unitPrice) < 0n)
    throw new FormatError("Units and prices are not negative.");
  return productRoundedUp(units, unitPrice, MONEY_DECIMALS);
}

/** Return a non-negative decimal in its canonical form. Throws `FormatError`, which names `where`. */
export function parseDecimal(value: unknown, where: string, decimals: number = MONEY_DECIMALS): string {
  const result = text(value, where, DECIMAL);
  if ((result.split(".")[1]?.length ?? 0) > decimals) {
    throw new FormatError(`${where} has more than ${decimals} decimals.`);
  }
  return result;
}
