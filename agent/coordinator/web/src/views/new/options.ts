/** The options of any job, as form fields. */
import type { FormField } from "../../schema/fields.ts";

const FIELD: Omit<FormField, "name" | "label" | "help"> = {
  kind: "text",
  required: false,
  neededIn: undefined,
  advanced: true,
  default: undefined,
  options: [],
  integer: false,
  min: undefined,
  max: undefined,
  above: undefined,
  maxLength: undefined,
  example: undefined,
  inline: false,
  placeholder: undefined,
};

export const MAX_COST: FormField = {
  ...FIELD,
  name: "pricing.max_cost",
  label: "Maximum cost",
  help: "In credits. Held until the job ends; the unused part is refunded.",
  kind: "money",
  example: "1.00",
  placeholder: "1.00",
};

/** Has the result checked by another miner, for services whose results can be compared. */
export const AUDITED: FormField = {
  ...FIELD,
  name: "audited",
  label: "Audit: have another miner check the result",
  help: undefined,
  kind: "flag",
  default: false,
};

/** Options that a sealed job cannot have: its miner is chosen with the key, and no other miner can read it. */
export const NOT_SEALED: ReadonlySet<string> = new Set(["miner_id", "audited", "min_reputation"]);

/** A service's own field of the same name takes precedence. */
export const JOB_OPTIONS: FormField[] = [
  MAX_COST,
  {
    ...FIELD,
    name: "name",
    label: "Job name",
    help: "Shown in lists. Without one, the job is named after its file or its prompt.",
    maxLength: 200,
  },
  {
    ...FIELD,
    name: "labels",
    label: "Labels",
    help: "Group jobs: the job list can be filtered by label.",
    kind: "labels",
    placeholder: "project:demo, take:2",
  },
  {
    ...FIELD,
    name: "priority",
    label: "Priority",
    help: "0 to 9; your jobs with a higher priority run first.",
    kind: "number",
    integer: true,
    min: 0,
    max: 9,
    example: 5,
    placeholder: "0",
  },
  {
    ...FIELD,
    name: "timeout_seconds",
    label: "Time limit",
    help: "In seconds. A run that takes longer is stopped, and the job fails.",
    kind: "number",
    integer: true,
    min: 1,
    example: 3600,
    placeholder: "3600",
  },
  {
    ...FIELD,
    name: "min_reputation",
    label: "Minimum reputation of the miner",
    help: "0 to 5. Miners below it do not get the job.",
    kind: "number",
    min: 0,
    max: 5,
    example: 4,
    placeholder: "0",
  },
  {
    ...FIELD,
    name: "miner_id",
    label: "Miner",
    help: "The only miner that may run the job. The job waits until that miner is free.",
    placeholder: "miner_\u2026",
  },
  {
    ...FIELD,
    name: "webhook_url",
    label: "Webhook",
    help: "An address that receives a signed message when the job ends.",
    placeholder: "https://example.com/hook",
  },
];
