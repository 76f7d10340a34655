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
