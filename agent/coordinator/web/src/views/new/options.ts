/** The options of any job, as form fields. */
import type { FormField } from "../../schema/fields.ts";

const FIELD = { kind: "text", group: "This job" } as const;

export const MAX_COST: FormField = {
  ...FIELD,
  name: "pricing.max_cost",
  label: "Maximum cost",
  help: "Held until the job ends; what it did not cost comes back.",
  unit: "credits",
  kind: "money",
  example: "1.00",
  placeholder: "1.00",
};

/** Has the result checked by another miner, for services whose results can be compared. */
export const AUDITED: FormField = {
  name: "audited",
  label: "Have another miner check the result",
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
    help: "To find jobs that belong together: the list of jobs can be filtered by them.",
    kind: "labels",
    placeholder: "project:demo, take:2",
  },
  {
    ...FIELD,
    name: "priority",
    label: "Priority",
    help: "From 0 to 9. Of your own waiting jobs, those with a higher priority start first.",
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
    help: "A run that takes longer is stopped, and the job fails.",
    unit: "seconds",
    kind: "number",
    integer: true,
    min: 1,
    example: 3600,
    placeholder: "3600",
  },
  {
    ...FIELD,
    name: "min_reputation",
    label: "Minimum reputation",
    help: "From 0 to 5. Miners with a lower one do not get the job; new ones begin at 3.",
    kind: "number",
    min: 0,
    max: 5,
    example: 4,
    placeholder: "0",
  },
  {
    ...FIELD,
    name: "miner_id",
    label: "Only this miner",
    help: "The id of a miner, from the prices page. The job waits until it is free.",
    placeholder: "miner_\u2026",
  },
  {
    ...FIELD,
    name: "webhook_url",
    label: "Webhook",
    help: "Your server's address, which gets a signed message when the job ends.",
    placeholder: "https://example.com/hook",
  },
];
