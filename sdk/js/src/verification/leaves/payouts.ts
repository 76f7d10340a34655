/**
 * Payouts: proofs that a payment is part of a batch whose manifest is in the log, and the addresses that miners sign.
 *
 * The manifest names the sum, the rate and the Merkle root (RFC 6962) over the batch's payments. Each payment has a random
 * salt, so that nobody learns from a proof what others were paid.
 */

import { hexToBytes } from "@noble/hashes/utils.js";
import { productRoundedDown, scaled } from "../../decimals.js";
import { FormatError, VerificationError } from "../../errors.js";
import { canonicalJson, decodeBase64, parseJson, sameBytes, utf8 } from "../canonical.js";
import { openEnvelope } from "../dsse.js";
import { minerId } from "../keys.js";
import { parseProof, requireInclusion } from "../log.js";
import { HASH_SIZE, leafHash, verifyInclusion } from "../merkle.js";
import { Policy, witnessNames } from "../policy.js";
import { type Check, failuresOf, Report } from "../report.js";
import type { Json } from "../shape.js";
import { parseDecimal } from "../statement.js";
import { exact, HEX_SHA256, items, MINER_ID, text, utcTime } from "../strict.js";

export const MANIFEST_TYPE = "https://aitbc.bubuit.net/payout/v1";
const PAYMENT_TYPE = "https://aitbc.bubuit.net/payout-payment/v1";
const PROOF_TYPE = "https://aitbc.bubuit.net/payout-proof/v1";
const ADDRESS_TYPE = "application/vnd.aitbc.payout-address+json";

const MAX_DECIMALS = 18;
const MAX_PROOF_HASHES = 32;
const BATCH_ID = /^batch_[0-9A-Za-z_-]{1,64}$/;
const PAYOUT_ID = /^payout_[0-9A-Za-z_-]{1,64}$/;
const NAME = /^[a-z][a-z0-9_]{0,31}$/;
const CURRENCY = /^[A-Za-z0-9._-]{1,16}$/;
const SALT = /^[0-9a-f]{32}$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: an address has none
const ADDRESS = /^[^\u0000-\u001f\u007f\ud800-\udfff]{1,2000}$/u;

const PAYMENT_FIELDS = [
  ...(["_type", "batch_id", "payout_id", "miner_id", "adapter", "address", "currency"] as const),
  ...(["amount", "sent_amount", "salt"] as const),
] as const;
const MANIFEST_FIELDS = [
  ...([
    "_type",
    "batch_id",
    "origin",
    "created_at",
    "approved_at",
    "cut_off",
    "adapter",
    "currency",
  ] as const),
  ...(["decimals", "rate", "rounding", "count", "amount", "sent_amount", "root"] as const),
] as const;
const PROOF_FIELDS = ["_type", "payment", "index", "hashes", "manifest", "proof"] as const;
const ADDRESS_FIELDS = [
  ...(["miner_id", "adapter", "address", "currency", "sequence", "created_at", "origin"] as const),
] as const;

/** A payment of a batch. `amount` leaves the ledger, and `sentAmount` is sent in the batch's currency. */
export interface Payment {
  batchId: string;
  payoutId: string;
  minerId: string;
  adapter: string;
  address: string;
  currency: string;
  amount: string;
  sentAmount: string;
}

/** What a coordinator signs about a batch. Each payment is its `amount` times `rate`, rounded down to `decimals`. */
export interface PayoutManifest {
  batchId: string;
  origin: string;
  createdAt: string;
  approvedAt: string;
  /** The time up to which earnings were counted. */
  cutOff: string;
  adapter: string;
  currency: string;
  decimals: number;
  rate: string;
  count: number;
  amount: string;
  sentAmount: string;
  root: string;
}

/** A miner's signed statement of the address that it is paid to. */
export interface PayoutAddressStatement {
  minerId: string;
  adapter: string;
  address: string;
  currency: string;
  sequence: number;
  createdAt: string;
  origin: string;
}

/** The outcome of `verifyPayout`. Trust `payment` and `manifest` only if it is `valid`. */
export class PayoutVerification {
  constructor(
    readonly checks: readonly Check[],
    readonly payment: Payment | undefined,
    readonly manifest: PayoutManifest | undefined,
  ) {}

  /** Whether all checks passed. */
  get valid(): boolean {
    return this.checks.every(({ ok }) => ok);
  }

  /** One line for each failed check. */
  get failures(): string[] {
    return failuresOf(this.checks);
  }
}

interface Parsed {
  payment: Payment;
  leaf: Uint8Array;
  index: number;
  hashes: Uint8Array[];
  manifest: Uint8Array;
  proof: string;
}

/**
 * Verify offline that a payment is part of a batch whose manifest is in the log.
 *
 * It does not show that the money has arrived: that is for the bank, the chain or the node that it was sent through.
 *
 * @param proof - The answer of `client.payouts.proof`, or its text.
 * @param trust - The log's public key, or a policy with witnesses.
 */
export function verifyPayout(proof: Json | string, trust: string | Policy): PayoutVerification {
  const report = new Report();
  const found = report.attempt("form", () =>
    parseProofOf(typeof proof === "string" ? parseJson(proof) : proof),
  );
  if (found === undefined) return new PayoutVerification(report.checks, undefined, undefined);
  report.expect("form", true, "the proof is complete", "");
  const manifest = report.attempt("manifest", () => parseManifest(found.manifest));
  if (manifest !== undefined) {
    const origin = report.attempt("log", () => logOf(found, trust));
    if (origin !== undefined) {
      report.expect("log", true, `the log ${origin} includes the manifest`, "");
      report.expect(
        "origin",
        manifest.origin === origin,
        "the manifest names this log",
        `the manifest is of ${manifest.origin}, the log of ${origin}`,
      );
    }
    examine(report, found, manifest);
  }
  return new PayoutVerification(report.checks, found.payment, manifest);
}

/** Return the origin of the log that includes the manifest. */
function logOf(found: Parsed, trust: string | Policy): string {
  const policy = typeof trust === "string" ? Policy.ofLog(trust) : trust;
  const proof = parseProof(found.proof);
  const checkpoint = policy.open(proof.note);
  const cosigned = policy.cosignedBy(proof.note);
  if (!policy.isMetBy(cosigned)) {
    throw new VerificationError(
      `The checkpoint is cosigned by ${witnessNames(cosigned)}, but the policy asks for ${policy.quorum}.`,
    );
  }
  requireInclusion(found.manifest, proof, checkpoint);
  return checkpoint.origin;
}

/** Compare the payment with the manifest. */
function examine(report: Report, { payment, leaf, index, hashes }: Parsed, manifest: PayoutManifest): void {
  report.expect(
    "payment",
    verifyInclusion(leafHash(leaf), index, manifest.count, hashes, hexToBytes(manifest.root)),
    `payment ${index + 1} of ${manifest.count} of ${manifest.batchId}`,
    "its proof does not lead to the manifest's root: it was changed, or is not part of the batch",
  );
  const names = { batchId: "batch_id", adapter: "adapter", currency: "currency" } as const;
  const differing = Object.entries(names)
    .filter(([name]) => payment[name as keyof typeof names] !== manifest[name as keyof typeof names])
    .map(([, name]) => name);
  report.expect(
    "batch",
    differing.length === 0,
    "the payment and the manifest name the same batch",
    `differ in ${differing.join(", ")}`,
  );
  const expected = productRoundedDown(payment.amount, manifest.rate, manifest.decimals);
  report.expect(
    "rate",
    scaled(payment.sentAmount) === scaled(expected),
    `${payment.amount} at ${manifest.rate} is ${expected} ${manifest.currency}`,
    `${payment.sentAmount} is sent, but the rate gives ${expected} ${manifest.currency}`,
  );
}

function parseProofOf(fields: Json): Parsed {
  const found = exact(fields, PROOF_FIELDS, "The proof of a payment");
  if (found._type !== PROOF_TYPE) throw new FormatError(`The _type is not ${PROOF_TYPE}.`);
  const hashes = items(found.hashes, "The proof's hashes").map((item) =>
    decodeBase64(text(item, "A hash of the proof")),
  );
  if (hashes.length > MAX_PROOF_HASHES || hashes.some((hash) => hash.length !== HASH_SIZE)) {
    throw new FormatError("The proof has a hash without 32 bytes, or too many hashes.");
  }
  return {
    payment: parsePayment(found.payment),
    leaf: canonicalJson(found.payment),
    index: wholeNumber(found.index, 0, "The proof's index"),
    hashes,
    manifest: utf8(text(found.manifest, "The proof's manifest")),
    proof: text(found.proof, "The log's proof"),
  };
}

function parsePayment(fields: unknown): Payment {
  const found = exact(fields, PAYMENT_FIELDS, "The payment");
  if (found._type !== PAYMENT_TYPE) throw new FormatError(`The payment's _type is not ${PAYMENT_TYPE}.`);
  text(found.salt, "The payment's salt", SALT);
  return {
    batchId: text(found.batch_id, "The payment's batch_id", BATCH_ID),
    payoutId: text(found.payout_id, "The payment's payout_id", PAYOUT_ID),
    minerId: text(found.miner_id, "The payment's miner_id", MINER_ID),
    ...destination(found, "The payment"),
    amount: positive(found.amount, "The payment's amount"),
    sentAmount: positive(found.sent_amount, "The payment's sent_amount", MAX_DECIMALS),
  };
}

/** Parse a manifest's leaf. Throws `FormatError` unless it is canonical and its values are possible. */
export function parseManifest(leaf: Uint8Array): PayoutManifest {
  const parsed = parseJson(leaf);
  const found = exact(parsed, MANIFEST_FIELDS, "The manifest");
  if (found._type !== MANIFEST_TYPE || found.rounding !== "down") {
    throw new FormatError("The manifest has another type or rounding than this program knows.");
  }
  const manifest = {
    batchId: text(found.batch_id, "The manifest's batch_id", BATCH_ID),
    origin: text(found.origin, "The manifest's origin"),
    createdAt: utcTime(found.created_at, "The manifest's created_at"),
    approvedAt: utcTime(found.approved_at, "The manifest's approved_at"),
    cutOff: utcTime(found.cut_off, "The manifest's cut_off"),
    adapter: text(found.adapter, "The manifest's adapter", NAME),
    currency: text(found.currency, "The manifest's currency", CURRENCY),
    decimals: wholeNumber(found.decimals, 0, "The manifest's decimals", MAX_DECIMALS),
    rate: positive(found.rate, "The manifest's rate", MAX_DECIMALS),
    count: wholeNumber(found.count, 1, "The manifest's count"),
    amount: positive(found.amount, "The manifest's amount"),
    sentAmount: positive(found.sent_amount, "The manifest's sent_amount", MAX_DECIMALS),
    root: text(found.root, "The manifest's root", HEX_SHA256),
  };
  if (!sameBytes(canonicalJson(parsed), leaf)) {
    throw new FormatError("The manifest is not in its canonical form.");
  }
  return manifest;
}

/**
 * Return the statement of an address that `publicKey` (32 bytes), the identity key of its miner, signed.
 *
 * Throws `FormatError` for a wrong form, and `VerificationError` for a wrong signature or another miner's id.
 */
export function openPayoutAddress(envelope: unknown, publicKey: Uint8Array): PayoutAddressStatement {
  const payload = openEnvelope(envelope, publicKey, ADDRESS_TYPE);
  const fields = parseJson(payload);
  const found = exact(fields, ADDRESS_FIELDS, "The address");
  const statement = {
    minerId: text(found.miner_id, "The address's miner_id", MINER_ID),
    ...destination(found, "The address"),
    sequence: wholeNumber(found.sequence, 1, "The address's sequence"),
    createdAt: utcTime(found.created_at, "The address's created_at"),
    origin: text(found.origin, "The address's origin"),
  };
  if (!sameBytes(canonicalJson(fields), payload)) {
    throw new FormatError("The address is not in its canonical form.");
  }
  if (statement.minerId !== minerId(publicKey))
    throw new VerificationError("The address is another miner's.");
  return statement;
}

function destination(found: Record<string, unknown>, where: string) {
  return {
    adapter: text(found.adapter, `${where}'s adapter`, NAME),
    address: text(found.address, `${where}'s address`, ADDRESS),
    currency: text(found.currency, `${where}'s currency`, CURRENCY),
  };
}

function positive(value: unknown, where: string, decimals?: number): string {
  const result = parseDecimal(value, where, decimals);
  if (scaled(result) <= 0n) throw new FormatError(`${where} is not positive.`);
  return result;
}

function wholeNumber(value: unknown, least: number, where: string, most = Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > most) {
    throw new FormatError(`${where} is not a number that it can be.`);
  }
  return value;
}
