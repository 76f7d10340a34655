/** What a client has paid lately. */

import type { Transaction } from "@aitbc/client";
import { decimal, difference, text } from "./format/decimal.ts";
import { change } from "./format/transactions.ts";
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
  const { transactions, all } = await readSince(Date.now() - WEEK_MS, signal);
  let amount = decimal("0");
  const jobs = new Set<string>();
  for (const transaction of transactions) {
    const added = change(transaction);
    // What the operator gives and takes is neither a cost nor saved.
    if (added === undefined || transaction.type === "credit" || transaction.type === "debit") continue;
    amount = difference(amount, decimal(added));
    if (transaction.jobId && Number(added) !== 0) jobs.add(transaction.jobId);
  }
  return { amount: text(amount), jobs: jobs.size, all };
}

async function readSince(
  since: number,
  signal: AbortSignal,
): Promise<{ transactions: Transaction[]; all: boolean }> {
  const found: Transaction[] = [];
  let before: string | undefined;
  for (let page = 0; page < PAGES; page += 1) {
    const { transactions, next } = await api("client").wallet.transactions({ limit: PAGE, before, signal });
    const recent = transactions.filter(({ createdAt }) => Date.parse(createdAt) >= since);
    found.push(...recent);
    if (recent.length < transactions.length || !next) return { transactions: found, all: true };
    before = next;
  }
  return { transactions: found, all: false };
}
