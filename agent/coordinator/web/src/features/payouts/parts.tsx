/**
 * Payouts: the states of batches and payments, and amounts in the currency that is sent.
 *
 *   <PayoutStatus state={payout.status} />
 *   <BatchStatus state={batch.status} />
 */
import type { PayoutBatch, PayoutState } from "@aitbc/client";
import { Badge, type BadgeProps } from "../../components/figures/status.tsx";

const PAYMENTS: Record<PayoutState, BadgeProps> = {
  created: { tone: "wait", icon: "wait", word: "Waiting for approval" },
  approved: { tone: "wait", icon: "wait", word: "Approved" },
  prepared: { tone: "busy", icon: "play", word: "Being sent" },
  sent: { tone: "busy", icon: "play", word: "Sent" },
  confirmed: { tone: "good", icon: "check", word: "Confirmed" },
  failed: { tone: "bad", icon: "cross", word: "Failed" },
  cancelled: { tone: "still", icon: "dash", word: "Cancelled" },
};

const BATCHES: Record<PayoutBatch["status"], BadgeProps> = {
  draft: { tone: "still", icon: "dash", word: "Draft" },
  created: PAYMENTS.created,
  approved: PAYMENTS.approved,
  sending: PAYMENTS.prepared,
  cancelled: PAYMENTS.cancelled,
  confirmed: { tone: "good", icon: "check", word: "All confirmed" },
  failed: { tone: "bad", icon: "warn", word: "Some failed" },
};

export const BATCH_STATES: { value: string; label: string }[] = [
  { value: "", label: "All" },
  { value: "created", label: "Waiting for approval" },
  { value: "sending", label: "Being sent" },
  { value: "confirmed", label: "All confirmed" },
  { value: "failed", label: "Some failed" },
];

export function PayoutStatus({ state }: { state: PayoutState }) {
  return <Badge {...PAYMENTS[state]} />;
}

export function BatchStatus({ state }: { state: PayoutBatch["status"] }) {
  return <Badge {...BATCHES[state]} />;
}

/** Return the words of a payment's state, such as "2 confirmed". */
export function stateWords(state: PayoutState, count: number): string {
  return `${count} ${PAYMENTS[state].word.toLowerCase()}`;
}
