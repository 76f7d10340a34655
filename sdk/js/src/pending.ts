/** Types of answers that the generator does not know yet. */

type Verdict = "pass" | "fail" | "unproven";

export interface Audit {
  auditId: string;
  jobId: string;
  receiptId: string;
  minerId: string;
  service: string;
  model: string | null;
  kind: "check" | "third" | "canary" | "second_opinion";
  status: "waiting" | "running" | "decided";
  opinion: Verdict | null;
  verdict: Verdict | null;
  distances: Record<string, number>;
  limits: Record<string, number>;
  where: string;
  reason: string;
  comparisonSha256: string;
  createdAt: string;
  decidedAt: string | null;
  probability: number | null;
  enforced: boolean;
  forfeited: string;
  parent: string | null;
  secondOpinionUntil: string | null;
}
export interface AuditPage {
  audits: Audit[];
  next?: string;
}
export interface AuditStanding {
  role: "miner" | "auditor";
  service: string;
  model: string | null;
  passes: number;
  checked: number;
  failed: number;
  canariesChecked: number;
  canariesFailed: number;
  probability: number;
}
export interface MinerAudits extends AuditPage {
  standings: AuditStanding[];
}
export interface Canary {
  canaryId: string;
  jobId: string;
  service: string;
  model: string | null;
  note: string;
  submitted: number;
  createdAt: string;
}
export interface CanaryList {
  canaries: Canary[];
}
export type PaymentState =
  | "created"
  | "approved"
  | "prepared"
  | "sent"
  | "confirmed"
  | "failed"
  | "cancelled";
export interface Payout {
  payoutId: string;
  batchId: string;
  minerId: string;
  minerName?: string;
  adapter: string;
  address: string;
  currency: string;
  amount: string;
  sentAmount: string;
  status: PaymentState;
  createdAt: string;
  finishedAt?: string;
  reference?: string;
  reason?: string;
  waitingFor?: string;
}
export interface OmittedMiner {
  minerId: string;
  minerName?: string;
  amount: string;
  reason: "no_address" | "excluded" | "new" | "on_hold" | "below_minimum" | "batch_full";
}
export interface PayoutTransfer {
  transferId: string;
  status: "prepared" | "sent" | "finished";
  reference: string;
  nonce?: number;
  attempts: number;
  sentAt?: string;
  nextCallAt?: string;
  error?: string;
}
export interface Batch {
  batchId?: string;
  status: "draft" | "created" | "approved" | "sending" | "confirmed" | "failed" | "cancelled";
  adapter: string;
  currency: string;
  rate: string;
  rounding: "down";
  decimals: number;
  cutOff: string;
  minimum: string;
  count: number;
  counts: Partial<Record<PaymentState, number>>;
  amount: string;
  note: string;
  createdAt: string;
  createdBy?: string;
  approvedAt?: string;
  approvedBy?: string;
  cancelledBy?: string;
  finishedAt?: string;
  error?: string;
}
export interface BatchDetails extends Batch {
  payouts: Payout[];
  sentAmount: string;
  manifest?: string;
  transfers: PayoutTransfer[];
  omitted: OmittedMiner[];
}
export interface PayoutAdapter {
  adapter: string;
  currencies: Record<string, number>;
  byHand: boolean;
  fault?: string;
}
export interface BatchPage {
  batches: Batch[];
  adapters: PayoutAdapter[];
  next?: string;
}
export interface MinerPayouts {
  minerId: string;
  available: string;
  onHold: string;
  pending: string;
  paidOut: string;
  payouts: Payout[];
  next?: string;
}
export interface PayoutAddress {
  adapter: string;
  currency: string;
  address: string;
  sequence: number;
  createdAt: string;
  effectiveAt: string;
}
export interface PayoutAddresses {
  minerId: string;
  address: PayoutAddress | null;
  pending: PayoutAddress | null;
  origin: string;
  delayHours: number;
  adapters: PayoutAdapter[];
}

export interface SealedJob {
  version: number;
  keyId: string;
  requestId: string;
  replyKey: string;
  model: string | null;
  adapters: string[];
}
