/** What the coordinator answers to owners of miners and to administrators, with JavaScript's names. */

/** What a miner has done. `reputation` is 0 to 5, `successRate` 0 to 1, `averageCompletionTime` in seconds. */
export interface MinerStats {
  minerId: string;
  reputation: number;
  totalJobs: number;
  successRate: number;
  averageCompletionTime: number;
  totalEarned: string;
  activeSince: string;
  failedRuns: number;
  refusedResults: number;
}

/** A GPU as its miner last told it: bytes, percent, degrees Celsius, watts; null where that is not known. */
export interface MinerGpu {
  uuid: string;
  index: number;
  name: string;
  driver: string | null;
  computeCapability: string | null;
  memoryTotal: number | null;
  memoryFree: number | null;
  utilization: number | null;
  temperature: number | null;
  power: number | null;
  powerLimit: number | null;
  /** Why this GPU takes no work, in words; null when it does. */
  paused: string | null;
}

/** A service as a miner offers it. */
export interface MinerService {
  serviceId: string;
  /** Names of models on its disk. */
  models: string[];
  /** Names of models in memory. */
  loaded: string[];
  /** Names of models that it does not offer at present. */
  unavailableModels: string[];
  unitPrice: string;
  /** What the price is for; null for a service that the coordinator does not know. */
  unit: string | null;
  concurrency: number;
  /** Whether it fetches models of its catalogue that it does not have. */
  downloadable: boolean;
  /** How fast it was in a benchmark of its own. */
  score: { metric: string; value: number; device: string | null } | null;
}

/** The share (0 to 1) of a miner's capacity over the last hour that went to `reason`. */
export interface IdleShare {
  reason: string;
  share: number;
}

/** A model on its way to a miner's disk, in bytes; `total` is null while it is not known. */
export interface ModelDownload {
  model: string;
  done: number;
  total: number | null;
}

/** A command that was given to a miner. */
export interface QueuedCommand {
  commandId: string;
  command: "pause" | "resume" | "fetch_model" | "remove_model";
  createdAt: string;
}

/** A command that the miner has not executed yet. Without `gpu` it is about the whole miner, without `seconds` for good. */
export interface MinerCommand extends QueuedCommand {
  gpu: string | null;
  seconds: number | null;
  model: string | null;
}

/** A job that runs on a miner. */
export interface MinerJob {
  jobId: string;
  serviceId: string;
  progress: number;
  startedAt: string | null;
}

/** A miner as its owner and administrators see it. */
export interface MinerDetails {
  minerId: string;
  name: string;
  online: boolean;
  seenAt: string;
  registeredAt: string;
  session: number;
  agentVersion: string | null;
  /** Why it takes no work at all, in words; null when it does. */
  paused: string | null;
  slots: number;
  cpuCores: number;
  memory: number;
  diskFree: number;
  /** What isolates programs that read clients' files: "bubblewrap", "landlock" or "none"; null where none works or it is not known. */
  sandbox: string | null;
  gpus: MinerGpu[];
  services: MinerService[];
  /** Why services are not offered, by service. */
  unavailable: Record<string, string[]>;
  idle: IdleShare[];
  downloads: ModelDownload[];
  jobs: MinerJob[];
  commands: MinerCommand[];
  reputation: number;
  totalEarned: string;
}

/** Miners, and how many they are. */
export interface MinerList {
  miners: MinerDetails[];
  total: number;
  limit: number;
  offset: number;
}

/** What a miner earned on each of the last days (UTC), newest last. */
export interface MinerEarnings {
  minerId: string;
  days: { date: string; amount: string; jobs: number }[];
  total: string;
}

/** What a key may be for. */
export type KeyRole = "client" | "miner" | "admin";

/** A key without its secret; what does not apply is left out. */
export interface Key {
  keyId: string;
  role: KeyRole;
  name: string;
  accountId?: string;
  minerId?: string;
  createdAt: string;
  revokedAt?: string;
}

/** A key just made, with its secret, which is shown this once. */
export interface NewKey extends Key {
  key: string;
}

/** All keys, revoked ones too. */
export interface KeyList {
  keys: Key[];
}

/** The valid keys of an account, and how many it may have. */
export interface OwnKeyList {
  keys: Key[];
  limit: number;
}

/** The keys that a one-time token was exchanged for. */
export interface Login {
  keys: { role: KeyRole; key: string; keyId: string }[];
}

/** A browser that is signed in: the keys that it acts with, and when it ends. */
export interface BrowserSession {
  sessionId: string;
  createdAt: string;
  expiresAt: string;
  keys: Key[];
}

/** This browser's session, and the token that its page sends with each request. */
export interface OwnBrowserSession extends BrowserSession {
  csrfToken: string;
}

/** A one-time token, and the path of the dashboard that uses it. */
export interface NewLogin {
  token: string;
  path: string;
  expiresAt: string;
}

/** Who owns jobs, artifacts and money. */
export interface Account {
  accountId: string;
  name: string;
  balance: string;
  held: string;
  createdAt: string;
}

/** Accounts, oldest first. Where there are more, `next` is what to ask for them with. */
export interface AccountList {
  accounts: Account[];
  next?: string;
}

/** An account just made. */
export interface NewAccount {
  accountId: string;
  name: string;
}

/** A credit, and what the account can spend now. */
export interface Credited {
  transactionId: string;
  accountId: string;
  amount: string;
  balance: string;
  createdAt: string;
}

/** A token with which miners may join, shown this once. */
export interface Enrolment {
  enrolmentToken: string;
  uses: number;
  expiresAt: string;
}

/** A miner in a few words. */
export interface MinerSummary {
  minerId: string;
  name: string;
  online: boolean;
  seenAt: string;
  session: number;
  paused: string | null;
  /** When and why an operator excluded it. */
  excludedAt: string | null;
  excludedReason: string | null;
  services: string[];
  /** Why services are not offered, by service. */
  unavailable: Record<string, string[]>;
  gpus: string[];
  slots: number;
}

/** A miner that was excluded, and how many jobs were taken from it. */
export interface Exclusion {
  minerId: string;
  excludedAt: string;
  requeuedJobs: number;
}

/** How many jobs are in each state, all miners, and what the database has written. */
export interface Overview {
  jobs: Record<string, number>;
  miners: MinerSummary[];
  database: { commits: number; writes: number };
}
