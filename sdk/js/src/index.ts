/**
 * Client of the AITBC network: jobs, services, artifacts, events, and receipts that verify offline.
 *
 * ```js
 * import { AITBCClient } from "@aitbc/client";
 *
 * const client = new AITBCClient();
 * const job = await client.services.transcribe("speech.wav", { model: "tiny.en" });
 * await client.jobs.wait(job.jobId);
 * console.log((await client.jobs.getResults(job.jobId)).results.text);
 * ```
 */

export type { Admin, Keys } from "./calls/admin.js";
export { type Artifacts, artifactAddress, type UploadOptions } from "./calls/artifacts.js";
export type { Audits } from "./calls/audits.js";
export type { Jobs, RerunOptions } from "./calls/jobs.js";
export type { Log } from "./calls/log.js";
export type { Marketplace, NewOffer, OfferQuery } from "./calls/marketplace.js";
export type { Miners } from "./calls/miners.js";
export type { JobOptions, NewJob } from "./calls/new_job.js";
export type { NewPayoutBatch, PayoutOutcome, Payouts } from "./calls/payouts.js";
export type { Receipts } from "./calls/receipts.js";
export type { Registry } from "./calls/registry.js";
export type {
  EmbedOptions,
  GenerateOptions,
  InferOptions,
  Message,
  RenderOptions,
  RerankOptions,
  RunOptions,
  ServiceFile,
  ServiceOptions,
  Services,
  TranscodeOptions,
  TranscribeOptions,
} from "./calls/services.js";
export type { Wallet as WalletCalls } from "./calls/wallet.js";
export { AITBCClient, type ClientOptions } from "./client.js";
export * from "./errors.js";
export type { Target } from "./http/download_to.js";
export { type FollowOptions, isFinal } from "./http/events.js";
export type { OnProgress, Uploadable } from "./http/files.js";
export type { CreateOptions } from "./http/jobs.js";
export type { DownloadOptions } from "./http/receive.js";
export type { ListenOptions, StreamType } from "./http/stream.js";
export type { BrowserAccess, CallOptions, Fetch } from "./http/transport.js";
export type * from "./models.js";
export { readReplyKey } from "./sealed/key_file.js";
export { type EncryptionKey, ReplyKey, verifyEncryptionKey } from "./sealed/keys.js";
export type { SealedRequest, SealingMemory } from "./sealed/memory.js";
export { TextStream } from "./text.js";
export { type Attestation, verifyAttestation } from "./verification/attestation.js";
export { BUNDLE_FORMAT } from "./verification/bundle.js";
export { canonicalJson, parseJson } from "./verification/canonical.js";
export {
  type Conclusion,
  checkWords,
  conclusions,
  otherNetwork,
  type Question,
} from "./verification/conclusions.js";
export { openEnvelope, readEnvelope } from "./verification/dsse.js";
export { formatVkey, minerId, parseVkey } from "./verification/keys.js";
export {
  openPayoutAddress,
  type Payment,
  type PayoutAddressStatement,
  type PayoutManifest,
  PayoutVerification,
  parseManifest,
  verifyPayout,
} from "./verification/leaves/payouts.js";
export { parseSettlement, type Settlement } from "./verification/leaves/settlement.js";
export {
  comparisonSha256,
  type LoggedOpinion,
  parseVerdict,
  type Verdict,
} from "./verification/leaves/verdict.js";
export {
  type Checkpoint,
  openCheckpoint,
  type Proof,
  parseProof,
  receiptLeaf,
  verifyProof,
} from "./verification/log.js";
export { leafHash, verifyConsistency, verifyInclusion } from "./verification/merkle.js";
export {
  coordinatorLog,
  LogReport,
  type LogSource,
  type VerifyLogOptions,
  verifyLog,
} from "./verification/monitor.js";
export { findCosignature, type Note, parseNote, requireSignature } from "./verification/notes.js";
export { type OutputFile, outputFiles } from "./verification/outputs.js";
export { type Group, Policy, parsePolicy } from "./verification/policy.js";
export { parseQuantity } from "./verification/quantities.js";
export {
  CLOCK_SKEW_SECONDS,
  type Trust,
  type VerifyOptions,
  verifyReceipt,
} from "./verification/receipts.js";
export { type Check, type CheckedArtifact, Verification } from "./verification/report.js";
export type { Json, JsonObject } from "./verification/shape.js";
export {
  jobPrice,
  type NamedDigest,
  parseStatement,
  type StatedSealing,
  type Statement,
} from "./verification/statement.js";
export { decodeEntries, parseTilePath, type Tile, tilePath } from "./verification/tiles.js";
export { VERSION } from "./version.js";
