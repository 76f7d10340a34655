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

export type { Admin, Keys } from "./calls/admin.js";
export { type Artifacts, artifactAddress, type UploadOptions } from "./calls/artifacts.js";
export { type CreateOptions, isFinal, type JobOptions, type Jobs, type NewJob } from "./calls/jobs.js";
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
export { AITBCClient, type ClientOptions } from "./client.js";
export type { DownloadOptions, Target } from "./download.js";
export * from "./errors.js";
export type { FollowOptions } from "./events.js";
export type { OnProgress, Uploadable } from "./files.js";
export type * from "./models.js";
export type * from "./models_operations.js";
export { type OutputFile, outputFiles } from "./outputs.js";
export type { Json, JsonObject } from "./shape.js";
export type { ListenOptions, StreamType } from "./stream.js";
export { TextStream } from "./text.js";
export type { CallOptions, Fetch } from "./transport.js";
export { VERSION } from "./version.js";
