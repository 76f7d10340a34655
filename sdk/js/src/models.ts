/**
 * What the coordinator answers, with JavaScript's names. Fields that this version does not know are there too.
 *
 * Times are RFC 3339 UTC strings, money is a decimal string, sizes are bytes.
 */

import type { Json, JsonObject } from "./verification/shape.js";

/** The states of a job; the last three are final. */
export type JobState = "submitted" | "running" | "completed" | "failed" | "cancelled";

/** Why a job failed. */
export interface JobError {
  code: string;
  message: string;
}

/** A job's state. `progress` is 0 to 100; what does not apply is left out. */
export interface Job {
  jobId: string;
  status: JobState;
  progress: number;
  /** As the request wrote it. */
  type: string;
  serviceId: string;
  name: string;
  createdAt: string;
  /** Runs that have begun. */
  attempts: number;
  startedAt?: string;
  estimatedCompletion?: string;
  completedAt?: string;
  failedAt?: string;
  cancelledAt?: string;
  minerId?: string;
  offerId?: string;
  /** Paid for a job that has ended, a decimal string; the rest of its max_cost came back. */
  cost?: string;
  error?: JobError;
  /** Files that are still to be uploaded. */
  missingFiles?: string[];
}

/** A new job. When the call waited for its end, with its `results` or `error`. */
export interface CreatedJob {
  jobId: string;
  status: JobState;
  createdAt: string;
  estimatedCompletion: string;
  /** Of a service call. */
  serviceId?: string;
  missingFiles?: string[];
  /** In the words of the service: see the registry. */
  results?: JsonObject;
  error?: JobError;
}

/** A cancelled job. */
export interface CancelledJob {
  jobId: string;
  status: "cancelled";
  cancelledAt: string;
}

/** One page of jobs, newest first; `total` counts all that match. */
export interface JobList {
  jobs: Job[];
  total: number;
  limit: number;
  offset: number;
}

/** What a completed job made. `results` are in the words of the service, with the API's names. */
export interface JobResults {
  jobId: string;
  status: "completed";
  results: JsonObject;
  completedAt: string;
}

/**
 * Something that happened to a job.
 *
 * `kind` is `job_update` for a change of state or progress, and `job` is there then. `resync` says that something was
 * lost; the outputs so far follow. Every other kind is what the runner calls it (`token`, `segment`, `preview`,
 * `output`, ...), and `data` is what it told, with its own names. To go on after an event, pass its `seq` as `after`.
 */
export interface JobEvent {
  kind: string;
  job?: Job;
  data: JsonObject;
  seq?: number;
}

/** A change of a job's state. */
export interface JobUpdate {
  jobId: string;
  status: JobState;
  timestamp: string;
  type: string;
  progress: number;
  attempts: number;
  startedAt?: string;
  minerId?: string;
  error?: JobError;
}

/** An offer or a transaction that is new or changed. */
export interface MarketplaceUpdate {
  kind: "offer" | "transaction";
  status: string;
  timestamp: string;
  offerId?: string;
  transactionId?: string;
  amount?: string;
  jobId?: string;
  [name: string]: Json | undefined;
}

/** A receipt that was issued. */
export interface ReceiptCreated {
  receiptId: string;
  jobId: string;
  minerId: string;
  timestamp: string;
}

/** How far a running job is. */
export interface JobProgress {
  jobId: string;
  status: "running";
  progress: number;
  timestamp: string;
}

/** Something that a job's runner told: `jobId` and `kind`, and what belongs to the kind, with the runner's names. */
export type RunnerEvent = { jobId: string; kind: string } & JsonObject;

/** Why something was lost: `slow`, `events`, `pruned` or `unknown` (docs/reference/streams.md). */
export interface Resync {
  reason: string;
}

/**
 * Something that happened. `seq` is what to pass as `after` to go on after it. Types that this version does not know
 * come too; let them pass.
 */
export type StreamEvent =
  | { type: "job_update"; data: JobUpdate; seq: number }
  | { type: "marketplace_update"; data: MarketplaceUpdate; seq: number }
  | { type: "receipt_created"; data: ReceiptCreated; seq: number }
  | { type: "job_progress"; data: JobProgress; seq: number }
  | { type: "job_event"; data: RunnerEvent; seq: number }
  | { type: "resync"; data: Resync; seq: number };

/** A stored file. `artifactId` is `sha256:<hex>`; `artifact:<artifactId>` is what to write into a job's input. */
export interface Artifact {
  artifactId: string;
  size: number;
  mediaType: string;
}

/** A link that reads one artifact without a key, until it expires. */
export interface ArtifactLink {
  url: string;
  expiresAt: string;
}

/** What the coordinator signs about a run. */
export interface ReceiptAttestation {
  type: "assignment" | "completion";
  timestamp: string;
  statementSha256: string;
  jobId: string;
  minerId: string;
  fence: string;
  signature: string;
}

/** The miner's signed statement, a DSSE envelope. */
export interface Envelope {
  payloadType: string;
  payload: string;
  signatures: { keyid: string; sig: string }[];
}

/** A receipt; `verifyReceipt` checks it. */
export interface Receipt {
  receiptId: string;
  jobId: string;
  minerId: string;
  signature: { sig: string; publicKey: string };
  attestations: ReceiptAttestation[];
  createdAt: string;
  envelope: Envelope;
}

/** The bundle of a job, as it is written to a file: `verifyReceipt` checks it offline. It keeps the format's own names. */
export interface ReceiptBundle {
  format: string;
  receipt: JsonObject;
  results: JsonObject;
  proof: string;
}

/** What the coordinator says about a receipt; `failures` names each part that does not hold. */
export interface ReceiptVerification {
  valid: boolean;
  minerSignatureValid: boolean;
  coordinatorAttestations: number;
  verifiedAt: string;
  failures: string[];
}

/** The coordinator's state and that of its parts. `logKey` is what receipts are verified with. */
export interface Health {
  status: "ok" | "degraded";
  version: string;
  environment: string;
  timestamp: string;
  services: Record<string, string>;
  logKey: string;
}

/** What a machine needs to offer a service. `gpu` says whether one is needed, used if there, or never used. */
export interface Hardware {
  gpu: "required" | "optional" | "unused";
  vram: number;
  memory: number;
  disk: number;
}

/** A service. `unit` is what it is metered in, `cpuUnit` where there is no GPU; `determinism` how two results compare. */
export interface Service {
  serviceId: string;
  name: string;
  category: string;
  description: string;
  tags: string[];
  unit: string;
  cpuUnit: string;
  determinism: string;
  /** What another miner need not repeat when it takes a job over ("frames"); null: the job starts again. */
  resumes: string | null;
  /** The path of its service call. */
  route: string | null;
  requirements: Hardware;
  minersOnline: number;
  /** What miners ask for a unit; null while none is online. */
  price: { lowest: string; typical: string } | null;
  speed: { metric: string; best: number; typical: number } | null;
  /** Typical seconds of a run with each model that has been measured. */
  durations: { model: string | null; seconds: number }[];
}

/**
 * A service in full. `models` are the names that a request may use, `adapters` those that it may use beside, `ready`
 * those of them that a miner who is online has.
 */
export interface ServiceDetails extends Service {
  models: string[];
  adapters: string[];
  ready: string[];
  /** JSON Schema of the results. */
  outputSchema: JsonObject;
}

/** Services that can be asked for. */
export interface ServiceList {
  services: Service[];
  total: number;
}

/** What a service needs, and each model of the catalogue beside it. */
export interface ServiceRequirements extends Hardware {
  serviceId: string;
  models: { name: string; kind: "model" | "adapter"; vram: number; vramMin: number; memory: number }[];
}

/** What is wrong or worth knowing. `field` is a dotted path into the request. */
export interface Finding {
  field: string;
  message: string;
}

/** What the coordinator says about a request: `errors` it would be refused for, `warnings` worth knowing before. */
export interface Validation {
  valid: boolean;
  errors: Finding[];
  warnings: Finding[];
}

/** What an offer's machine has at least, as quantities (`"4Gi"`, `"2000m"`). */
export interface OfferRequirements {
  minGpuMemory?: string | undefined;
  minCpu?: string | undefined;
}

/** A miner's price for each metered unit of jobs of a type or name. A `standing` one has neither a limit nor an end. */
export interface Offer {
  offerId: string;
  minerId: string;
  jobType: string;
  price: string;
  status: "active" | "exhausted" | "expired" | "withdrawn";
  standing: boolean;
  requirements: OfferRequirements;
  createdAt: string;
  maxJobs?: number;
  jobsLeft?: number;
  expiresAt?: string;
  reputation?: number;
}

/** Offers. Where there are more of one's own, `next` is what to ask for them with. */
export interface OfferList {
  offers: Offer[];
  next?: string;
}

/** An offer that takes no new jobs any more. */
export interface OfferEnded {
  offerId: string;
  status: "expired" | "withdrawn";
}

/** The payment of a job that was given to an offer. `price` is what a unit will cost. */
export interface OfferAccepted {
  transactionId: string;
  status: TransactionState;
  createdAt: string;
  jobId: string;
  offerId: string;
  minerId: string;
  price: string;
}

/** The whole market. `averageCompletionTime` is seconds from a miner getting a job to its result. */
export interface MarketStats {
  totalJobs: number;
  activeJobs: number;
  completedJobs: number;
  failedJobs: number;
  averageCompletionTime: number;
  totalVolume: string;
  activeMiners: number;
}

/** What can be spent (a miner's: was earned), and what is held for unfinished jobs. */
export interface Wallet {
  balance: string;
  held: string;
  accountId?: string;
  minerId?: string;
  /** For administrators: all that was ever credited. */
  issued?: string;
}

/** The states of a transaction. */
export type TransactionState = "pending" | "settled" | "refunded";

/** A credit, or the payment of a job: `held` first, then `amount` paid (`fee` included) and the rest `refunded`. */
export interface Transaction {
  transactionId: string;
  type: "credit" | "payment";
  status: TransactionState;
  amount: string;
  createdAt: string;
  jobId?: string;
  minerId?: string;
  held?: string;
  fee?: string;
  refunded?: string;
  settledAt?: string;
  note?: string;
}

/** Transactions, the newest first. Where there are more, `next` is what to ask for them with. */
export interface TransactionList {
  transactions: Transaction[];
  next?: string;
}
