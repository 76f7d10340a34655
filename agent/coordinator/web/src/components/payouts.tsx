/**
 * Payouts: the states of batches and payments, and amounts in the currency that is sent.
 *
 *   <PayoutStatus state={payout.status} />
 *   <BatchStatus state={batch.status} />
 */
import type { PayoutBatch, PayoutState } from "@aitbc/client";
import { Badge, type Tone } from "./figures/status.tsx";
import type { IconName } from "./icon.tsx";

type Shown = [tone: Tone, icon: IconName, word: string];

const PAYMENTS: Record<PayoutState, Shown> = {
  created: ["wait", "wait", "Waiting for approval"],
  approved: ["wait", "wait", "Approved"],
  prepared: ["busy", "play", "Being sent"],
  sent: ["busy", "play", "Sent"],
  confirmed: ["good", "check", "Confirmed"],
  failed: ["bad", "cross", "Failed"],
  cancelled: ["still", "dash", "Cancelled"],
};

const BATCHES: Record<PayoutBatch["status"], Shown> = {
  ...{ draft: ["still", "dash", "Draft"], created: PAYMENTS.created, approved: PAYMENTS.approved },
  ...{ sending: PAYMENTS.prepared, cancelled: PAYMENTS.cancelled },
  confirmed: ["good", "check", "All confirmed"],
  failed: ["bad", "warn", "Some failed"],
};

export const BATCH_STATES: { value: string; label: string }[] = [
  { value: "", label: "All" },
  { value: "created", label: "Waiting for approval" },
  { value: "sending", label: "Being sent" },
  { value: "confirmed", label: "All confirmed" },
  { value: "failed", label: "Some failed" },
];

export function PayoutStatus({ state }: { state: PayoutState }) {
  return <Shown of={PAYMENTS[state]} />;
}

export function BatchStatus({ state }: { state: PayoutBatch["status"] }) {
  return <Shown of={BATCHES[state]} />;
}

function Shown({ of: [tone, icon, word] }: { of: Shown }) {
  return (
    <Badge tone={tone} icon={icon}>
      {word}
    </Badge>
  );
}

/** Return the words of a payment's state, such as "2 confirmed". */
export function stateWords(state: PayoutState, count: number): string {
  return `${count} ${PAYMENTS[state][2].toLowerCase()}`;
}
