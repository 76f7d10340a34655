/**
 * What the coordinator answers and sends, with JavaScript's names. Objects may have fields that this version does not know.
 *
 * Times are RFC 3339 UTC strings, money is a decimal string, sizes are bytes.
 */

import type { JobStatus as Job, JobError, JobState, Transaction } from "./answers.js";
import type { Json, JsonObject } from "./verification/shape.js";

export type {
  Account,
  AccountPage as AccountList,
  Artifact,
  ArtifactLink,
  Attestation as ReceiptAttestation,
  BrowserSession,
  BrowserSessionList,
  Credited,
  Earnings as MinerEarnings,
  Enrolment,
  Envelope,
  Exclusion,
  Finding,
  Hardware,
  Health,
  IdleShare,
  JobCancelled as CancelledJob,
  JobCreated as CreatedJob,
  JobError,
  JobPage as JobList,
  JobResults,
  JobState,
  JobStatus as Job,
  Key,
  KeyList,
  LoggedIn as Login,
  LoginLink as NewLogin,
  MachineDownload as ModelDownload,
  MachineGpu as MinerGpu,
  MachineJob as MinerJob,
  MachineService as MinerService,
  MarketStats,
  MinerDetails,
  MinerPage as MinerList,
  MinerStats,
  MinerSummary,
  NewAccount,
  NewKey,
  Offer,
  OfferAccepted,
  OfferEnded,
  OfferPage as OfferList,
  OfferRequirements,
  Overview,
  OwnBrowserSession,
  OwnKeyList,
  QueuedCommand,
  Receipt,
  ReceiptVerification,
  Role as KeyRole,
  ServiceDetails,
  ServiceList,
  ServiceNeeds as ServiceRequirements,
  ServiceSummary as Service,
  Transaction,
  TransactionPage as TransactionList,
  Validation,
  WaitingCommand as MinerCommand,
  Wallet,
} from "./answers.js";

/** The states of a transaction. */
export type TransactionState = Transaction["status"];

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

/** Why something was lost: `slow`, `events`, `pruned` or `unknown` (docs/streams.md). */
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

/** The bundle of a job, as it is written to a file: `verifyReceipt` checks it offline. It keeps the format's own names. */
export interface ReceiptBundle {
  format: string;
  receipt: JsonObject;
  results: JsonObject;
  proof: string;
}
