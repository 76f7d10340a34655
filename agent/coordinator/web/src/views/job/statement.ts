/** Reads a miner's signed statement to show it, without verifying it. */
import type { Receipt } from "@aitbc/client";

export interface Signed {
  predicate: {
    service: string;
    inputs: { name: string; digest: { sha256: string } }[];
    runner: { name: string; version: string };
    model: { name: string } | null;
    device: { kind: string; name: string };
    started_at: string;
    finished_at: string;
    units: string;
    unit: string;
    unit_price: string;
    price: string;
    sealed?: object;
    attestation?: { type: string };
  };
}

/** Return the statement in a receipt's envelope. */
export function statementOf(receipt: Receipt): Signed {
  const bytes = Uint8Array.from(atob(receipt.envelope.payload), (character) => character.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes)) as Signed;
}

/** Return a job's input artifacts by the field of the request that named them. */
export function inputsOf(receipt: Receipt | undefined): Record<string, string> {
  if (!receipt) return {};
  const { inputs } = statementOf(receipt).predicate;
  return Object.fromEntries(inputs.map(({ name, digest }) => [name, `sha256:${digest.sha256}`]));
}
