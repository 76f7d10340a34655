/** The options of any job, as form fields. */
import type { FormField } from "../../schema/fields.ts";

const FIELD: Omit<FormField, "name" | "label" | "help"> = {
  kind: "text",
  required: false,
  advanced: true,
  default: undefined,
  options: [],
  integer: false,
  min: undefined,
  max: undefined,
  maxLength: undefined,
  inline: false,
  placeholder: undefined,
};

export const MAX_COST: FormField = {
  ...FIELD,
  name: "pricing.max_cost",
  label: "Maximum cost",
  help: "Held until the job ends; the unused part is refunded.",
  placeholder: "1.00",
};

/** A service's own field of the same name takes precedence. */
export const JOB_OPTIONS: FormField[] = [
  MAX_COST,
  {
    ...FIELD,
    name: "name",
    label: "Job name",
    help: "Shown in lists. Offers for jobs of this name apply to it.",
  },
  {
    ...FIELD,
    name: "priority",
    label: "Priority",
    help: "0 to 9; jobs of yours with a higher priority run first.",
    kind: "number",
    integer: true,
    min: 0,
    max: 9,
    placeholder: "0",
  },
  {
    ...FIELD,
    name: "timeout_seconds",
    label: "Time limit",
    help: "In seconds; a run that takes longer is stopped.",
    kind: "number",
    integer: true,
    min: 1,
    placeholder: "3600",
  },
  {
    ...FIELD,
    name: "miner_id",
    label: "Miner",
    help: "The id of the only miner that may run the job. The job waits for it.",
  },
  {
    ...FIELD,
    name: "webhook_url",
    label: "Webhook",
    help: "A URL that receives a signed message when the job ends.",
  },
];
