/**
 * Client of the AITBC network: jobs, artifacts, events, and receipts that verify offline.
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

export { type Attestation, verifyAttestation } from "./attestation.js";
export type { Admin, Keys } from "./calls/admin.js";
export { type Artifacts, artifactAddress, type UploadOptions } from "./calls/artifacts.js";
export type { CreateOptions, JobOptions, Jobs, NewJob } from "./calls/jobs.js";
export type { Log } from "./calls/log.js";
export type { Marketplace, NewOffer, OfferQuery } from "./calls/marketplace.js";
export type { Miners } from "./calls/miners.js";
export type { Receipts } from "./calls/receipts.js";
export type { Registry } from "./calls/registry.js";
export type {
  GenerateOptions,
  InferOptions,
  Message,
  RenderOptions,
  RunOptions,
  ServiceFile,
  ServiceOptions,
  Services,
  TranscodeOptions,
  TranscribeOptions,
} from "./calls/services.js";
export type { Wallet as WalletCalls } from "./calls/wallet.js";
export { canonicalJson, parseJson } from "./canonical.js";
export { AITBCClient, type ClientOptions } from "./client.js";
export type { DownloadOptions, Target } from "./download.js";
export { openEnvelope, readEnvelope } from "./dsse.js";
export * from "./errors.js";
export { type FollowOptions, isFinal } from "./events.js";
export type { OnProgress, Uploadable } from "./files.js";
export { formatVkey, minerId, parseVkey } from "./keys.js";
export {
  type Checkpoint,
  openCheckpoint,
  type Proof,
  parseProof,
  receiptLeaf,
  verifyProof,
} from "./log.js";
export { leafHash, verifyConsistency, verifyInclusion } from "./merkle.js";
export type * from "./models.js";
export type * from "./models_operations.js";
export {
  coordinatorLog,
  LogReport,
  type LogSource,
  type VerifyLogOptions,
  verifyLog,
} from "./monitor.js";
export { findCosignature, type Note, parseNote, requireSignature } from "./notes.js";
export { type OutputFile, outputFiles } from "./outputs.js";
export { type Group, Policy } from "./policy.js";
export { parseQuantity } from "./quantities.js";
export {
  BUNDLE_FORMAT,
  type CheckedArtifact,
  CLOCK_SKEW_SECONDS,
  type Trust,
  type VerifyOptions,
  verifyReceipt,
} from "./receipts.js";
export { type Check, Verification } from "./report.js";
export { parseSettlement, type Settlement } from "./settlement.js";
export type { Json, JsonObject } from "./shape.js";
export { jobPrice, type NamedDigest, parseStatement, type Statement } from "./statement.js";
export type { ListenOptions, StreamType } from "./stream.js";
export { TextStream } from "./text.js";
export { decodeEntries, parseTilePath, type Tile, tilePath } from "./tiles.js";
export type { BrowserAccess, CallOptions, Fetch } from "./transport.js";
export { VERSION } from "./version.js";
