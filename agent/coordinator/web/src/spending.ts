/** What a client has paid lately. */

import { decimal, sum, text } from "./format/decimal.ts";
import { api } from "./session.ts";

const WEEK_MS = 7 * 24 * 3600 * 1000;
/** Transactions of one request, and how many requests at most. */
const PAGE = 100;
const PAGES = 10;

export interface Spent {
  /** Decimal string. */
  amount: string;
  /** How many jobs were paid for. */
  jobs: number;
  /** Whether this is all; of very many transactions, only the newest are added up. */
  all: boolean;
}

/** Return what was paid in the last seven days, less what came back. */
export async function spentInWeek(signal: AbortSignal): Promise<Spent> {
  const since = Date.now() - WEEK_MS;
  let before: string | undefined;
  let paid = decimal("0");
  const jobs = new Set<string>();
  for (let page = 0; page < PAGES; page += 1) {
    const { transactions, next } = await api("client").wallet.transactions({ limit: PAGE, before, signal });
    for (const { type, status, amount, createdAt, jobId } of transactions) {
      if (Date.parse(createdAt) < since) return { amount: text(paid), jobs: jobs.size, all: true };
      if (type !== "payment" || status !== "settled") continue;
      paid = sum(paid, decimal(amount));
      if (jobId) jobs.add(jobId);
    }
    if (!next) return { amount: text(paid), jobs: jobs.size, all: true };
    before = next;
  }
  return { amount: text(paid), jobs: jobs.size, all: false };
}
