/** Transactions of a client's account in words, and what they did to its balance. */
import type { Transaction } from "@aitbc/client";
import { sentence } from "./names.ts";

/** Kinds that add to the balance; all others take from it. */
const ADDING = new Set(["credit", "refund", "forfeit"]);

const WORDS: Record<string, string> = {
  credit: "Credited by the operator",
  debit: "Taken back by the operator",
  audit: "Audit that you asked for",
  refund: "Audit paid back: no auditor was there",
  forfeit: "Paid back: the result was proven wrong",
};

/** Return what a transaction added to the balance, with a minus for less; undefined while a payment is pending. */
export function change({ type, status, amount }: Transaction): string | undefined {
  if (status === "pending") return undefined;
  return ADDING.has(type) || Number(amount) === 0 ? amount : `-${amount}`;
}

/** Return what a transaction was for. */
export function subject({ type, jobId, jobName, note }: Transaction): string {
  if (type === "payment") return jobName ?? jobId ?? "A job";
  return [WORDS[type] ?? sentence(type), note].filter(Boolean).join(": ");
}

/** Return what happened to the money of a payment, unless it was just paid. */
export function state({ type, status, amount }: Transaction): string | undefined {
  if (type !== "payment") return undefined;
  if (status === "pending") return "held until the job ends";
  return Number(amount) === 0 ? "nothing to pay" : undefined;
}

/** Group transactions, newest first, by the local day. */
export function byDay(transactions: Transaction[]): [day: string, transactions: Transaction[]][] {
  const days = new Map<string, Transaction[]>();
  for (const transaction of transactions) {
    const day = DAY.format(new Date(transaction.createdAt));
    days.set(day, [...(days.get(day) ?? []), transaction]);
  }
  return [...days];
}

const DAY = new Intl.DateTimeFormat("en-GB", {
  weekday: "long",
  day: "numeric",
  month: "long",
  year: "numeric",
});
