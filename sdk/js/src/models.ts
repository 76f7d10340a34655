/**
 * The coordinator's responses and events, with JavaScript's names. Objects may have fields that this version does not know.
 *
 * Times are RFC 3339 UTC strings, money is a decimal string, sizes are bytes.
 */

import type {
  JobLog as FetchedJobLog,
  JobResults as FetchedJobResults,
  JobStatus as Job,
  JobError,
  JobWaiting,
  Payout,
  Transaction,
} from "./answers.js";
import type { Json, JsonObject } from "./verification/shape.js";

export type {
  Account,
  AccountList,
  Artifact,
  ArtifactLink,
  ArtifactList,
  ArtifactUse,
  Audit,
  AuditList,
  AuditPrice,
  AuditStanding,
  Booked,
  BrowserSession,
  BrowserSessionList,
  Canary,
  CanaryList,
  ChangedSetting as MinerSettingChange,
  EnrolledMiner,
  Enrolment,
  EnrolmentList,
  Envelope,
  Exclusion,
  FleetMiner,
  GivenCommand,
  Hardware,
  Health,
  History,
  HistoryPoint,
  IdleShare,
  JobCancelled as CancelledJob,
  JobCreated as CreatedJob,
  JobDataDeleted,
  JobDetails,
  JobError,
  JobExplanation,
  JobInput,
  JobLogEntry,
  JobPage as JobList,
  JobStatus as Job,
  JobWaiting,
  Key,
  KeyList,
  LabelCount,
  LabelCounts,
  LoginKeyList as Login,
  MarketMiner,
  MarketMinerList,
  MarketStats,
  Metric,
  MinerAudits,
  MinerCommand,
  MinerDetails,
  MinerDownload as ModelDownload,
  MinerEarnings,
  MinerEnergy,
  MinerExplanation,
  MinerFault,
  MinerFleet,
  MinerGpu,
  MinerGpuHistory,
  MinerJob,
  MinerList,
  MinerOutlook,
  MinerPayouts,
  MinerSelftest,
  MinerService,
  MinerSettings,
  MinerStats,
  MinerSummary,
  ModelSupply,
  NewAccount,
  NewEnrolment,
  NewKey,
  NewLogin,
  Offer,
  OfferAccepted,
  OfferEnded,
  OfferList,
  OfferRequirements,
  OmittedMiner,
  Overview,
  OwnBrowserSession,
  OwnKeyList,
  Payout,
  PayoutAdapter,
  PayoutAddresses,
  PayoutBatch,
  PayoutBatchDetails,
  PayoutBatchList,
  PayoutDestination as PayoutAddress,
  PayoutTransfer,
  Period,
  QueuedCommand,
  Reason as JobReason,
  Receipt,
  ReceiptAttestation,
  Removal,
  Role as KeyRole,
  SaleUnit,
  SealedJob,
  ServiceDetails,
  ServicePage as ServiceList,
  ServiceRequirements,
  ServiceSummary as Service,
  ServiceSupply,
  ServiceSupplyList,
  StoredArtifact,
  TrailEntry,
  TrailPage,
  Transaction,
  TransactionList,
  Validation,
  ValidationProblem,
  VerifyAnswer as ReceiptVerification,
  Wallet,
  WebhookDelivery,
  WebhookList,
  WebhookSecret,
} from "./answers.js";

/** The states of a job. */
export type JobState = Job["status"];

/** The states of a payment. */
export type PayoutState = Payout["status"];

/** New settings of a miner. A price of null is removed, so that the default applies; settings that are left out stay. */
export interface MinerSettingsChange {
  prices?: Record<string, string | null> | undefined;
  schedule?: readonly string[] | undefined;
  engines?: readonly string[] | undefined;
}

/** The states of a transaction. */
export type TransactionState = Transaction["status"];

/** What the client itself says about an answer. */
export interface Opening {
  /**
   * Whether this client sealed the job, and the miner to which it did so has sealed this in return. If not, the coordinator
   * may have read or exchanged it.
   */
  opened?: boolean;
  /** Why an answer that was sealed need not be that of the job. */
  caution?: string;
}

/** The results of a completed job. Their form is defined by the job's service. */
export type JobResults = FetchedJobResults & Opening;

/** What a job's runs have written. */
export type JobLog = FetchedJobLog & Opening;

/**
 * An event of a job.
 *
 * `kind` is `job_update` for a change of status or progress, with the job in `job`. `resync` means that events were lost;
 * the outputs so far follow. Other kinds are the runner's (`token`, `segment`, `preview`, `output`, ...), with its data and
 * its own names in `data`. To resume after an event, pass its `seq` as `after`. `opened` is as in the results.
 */
export interface JobEvent {
  kind: string;
  job?: Job;
  data: JsonObject;
  seq?: number;
  opened?: boolean;
}

/** A change of a job's status. */
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
  /** Only in the one event that notifies the client that its job waits for long. */
  waiting?: JobWaiting;
}

/** A new or changed offer or transaction. */
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

/** A newly issued receipt. */
export interface ReceiptCreated {
  receiptId: string;
  jobId: string;
  minerId: string;
  timestamp: string;
}

/** The progress of a running job. */
export interface JobProgress {
  jobId: string;
  status: "running";
  progress: number;
  timestamp: string;
}

/** An event of a job's runner: `jobId`, `kind`, and the data of that kind with the runner's names. */
export type RunnerEvent = { jobId: string; kind: string } & JsonObject;

/** Why events were lost: `slow`, `events`, `pruned` or `unknown` (docs/reference/streams.md). */
export interface Resync {
  reason: string;
}

/** An event. To resume after it, pass its `seq` as `after`. Ignore types that are not listed here. */
export type StreamEvent =
  | { type: "job_update"; data: JobUpdate; seq: number }
  | { type: "marketplace_update"; data: MarketplaceUpdate; seq: number }
  | { type: "receipt_created"; data: ReceiptCreated; seq: number }
  | { type: "job_progress"; data: JobProgress; seq: number }
  | { type: "job_event"; data: RunnerEvent; seq: number }
  | { type: "resync"; data: Resync; seq: number };

/** An exported receipt bundle of a job, with the format's own names. `verifyReceipt` verifies it offline. */
export interface ReceiptBundle {
  format: string;
  receipt: JsonObject;
  results: JsonObject;
  proof: string;
}
