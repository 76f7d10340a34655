/** What any job may say beside its input, as fields of its form. */
import type { FormField } from "../../schema/fields.ts";

const FIELD: Omit<FormField, "name" | "label" | "help"> = {
  kind: "text",
  required: false,
  advanced: true,
  default: undefined,
  options: [],
  whole: false,
  least: undefined,
  most: undefined,
  maxLength: undefined,
  inline: false,
  placeholder: undefined,
};

export const MAX_COST: FormField = {
  ...FIELD,
  name: "pricing.max_cost",
  label: "Highest cost",
  help: "Held until the job ends; what it does not need comes back.",
  placeholder: "1.00",
};

/** A service's own field may be called the same, and stays the one that is shown. */
export const JOB_OPTIONS: FormField[] = [
  MAX_COST,
  {
    ...FIELD,
    name: "name",
    label: "Name of the job",
    help: "How lists call it, and offers for jobs of this name find it.",
  },
  {
    ...FIELD,
    name: "priority",
    label: "Priority",
    help: "0 to 9; 9 is the most urgent of your jobs.",
    kind: "number",
    whole: true,
    least: 0,
    most: 9,
    placeholder: "0",
  },
  {
    ...FIELD,
    name: "timeout_seconds",
    label: "Longest run",
    help: "In seconds; a run that takes longer is ended.",
    kind: "number",
    whole: true,
    least: 1,
    placeholder: "3600",
  },
  {
    ...FIELD,
    name: "miner_id",
    label: "Only this miner",
    help: "The id of a miner. The job waits for it.",
  },
  {
    ...FIELD,
    name: "webhook_url",
    label: "Webhook",
    help: "An address that gets a signed message when the job has ended.",
  },
];
