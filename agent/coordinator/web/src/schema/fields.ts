/** From a service's JSON Schema to the fields of a form. Pure: no service is known here by its name. */
import { sentence } from "../format/names.ts";

/** As much of JSON Schema as the registry's schemas use. */
export interface JsonSchema {
  type?: string;
  title?: string;
  description?: string;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  items?: JsonSchema;
  anyOf?: JsonSchema[];
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  examples?: unknown[];
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  $ref?: string;
  $defs?: Record<string, JsonSchema>;
  "x-aitbc-file"?: boolean;
}

export type FieldKind =
  | "text"
  | "number"
  | "choice"
  | "choices"
  | "flag"
  | "file"
  | "model"
  | "names"
  | "json";

export interface FormField {
  name: string;
  label: string;
  help: string | undefined;
  kind: FieldKind;
  required: boolean;
  /** Folded away at first: what the schema's own example does without. */
  advanced: boolean;
  default: unknown;
  options: string[];
  whole: boolean;
  least: number | undefined;
  most: number | undefined;
  maxLength: number | undefined;
  placeholder: string | undefined;
}

/** Names whose words alone would not do. */
const LABELS: Record<string, string> = {
  num_images: "Number of images",
  resolution_x: "Width",
  resolution_y: "Height",
  fps: "Frames per second",
  loras: "LoRAs",
  top_p: "Top p",
  top_k: "Top k",
  max_tokens: "Most tokens",
};

/** Longer texts than this get several lines. */
export const SHORT_TEXT = 300;

/** The fields of a form for a service's input, in the schema's order. */
export function fieldsOf(schema: JsonSchema): FormField[] {
  const example = schema.examples?.[0];
  const shown = new Set([...(schema.required ?? []), ...Object.keys(isObject(example) ? example : {})]);
  const sentences = explanations(schema.description ?? "");
  return Object.entries(schema.properties ?? {}).map(([name, property]) =>
    fieldOf(name, resolved(property, schema), {
      required: schema.required?.includes(name) ?? false,
      advanced: !shown.has(name),
      sentences,
    }),
  );
}

interface Place {
  required: boolean;
  advanced: boolean;
  sentences: string[];
}

function fieldOf(name: string, property: JsonSchema, { required, advanced, sentences }: Place): FormField {
  return {
    name,
    label: labelOf(name),
    help: helpOf(name, property, sentences),
    kind: kindOf(name, property),
    required,
    advanced,
    default: property.default ?? undefined,
    options: (property.enum ?? property.items?.enum ?? []).map(String),
    whole: property.type === "integer",
    least: property.minimum,
    most: property.maximum,
    maxLength: property.maxLength,
    placeholder: property.examples?.[0] === undefined ? undefined : `for example ${property.examples[0]}`,
  };
}

/** What a field holds, with references followed and "or null" left out: that only says that it may stay empty. */
function resolved(property: JsonSchema, root: JsonSchema): JsonSchema {
  if (property.$ref) {
    const target = root.$defs?.[property.$ref.replace("#/$defs/", "")] ?? {};
    return { ...target, ...property, $ref: undefined } as JsonSchema;
  }
  const choice = property.anyOf?.find((choice) => choice.type !== "null");
  if (!choice) return property;
  const { anyOf: _, ...rest } = property;
  return { ...resolved(choice, root), ...rest };
}

function kindOf(name: string, property: JsonSchema): FieldKind {
  if (property["x-aitbc-file"]) return "file";
  if (name === "model" && property.type === "string") return "model";
  if (property.enum) return "choice";
  switch (property.type) {
    case "boolean":
      return "flag";
    case "integer":
    case "number":
      return "number";
    case "string":
      return "text";
    case "array":
      return kindOfList(property.items ?? {});
    default:
      return "json";
  }
}

function kindOfList(items: JsonSchema): FieldKind {
  if (items.enum) return "choices";
  return items.type === "string" ? "names" : "json";
}

/** "audio_url" as "Audio", "num_images" as "Number of images". */
export function labelOf(name: string): string {
  return LABELS[name] ?? sentence(name.replace(/_url$/, "").replace(/_file$/, " file"));
}

/**
 * A description's sentences. Schemas describe their fields in prose, each field's name in backticks; so the sentences that name a
 * field are its help.
 */
function explanations(description: string): string[] {
  return description
    .replaceAll(/\s+/g, " ")
    .split(/(?<=\.) (?=[A-Z`])/)
    .filter((sentence) => sentence.includes("`") && !sentence.startsWith("Input of the service"));
}

function helpOf(name: string, property: JsonSchema, sentences: string[]): string | undefined {
  const parts = sentences.filter((sentence) => sentence.includes(`\`${name}\``));
  const help = [...(property.description ? [property.description] : []), ...parts].map(forPeople).join(" ");
  return help || undefined;
}

/** Names of fields as the form calls them; Python's "None" as what it is in a form. */
function forPeople(text: string): string {
  return text
    .replaceAll(/`([^`]+)`/g, (_, name: string) => `\u201c${labelOf(name)}\u201d`)
    .replaceAll(/\bNone\b/g, "empty");
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export type FormValues = Record<string, unknown>;

/** What a new form holds: the schema's defaults. */
export function initialValues(fields: FormField[]): FormValues {
  return Object.fromEntries(fields.map((field) => [field.name, field.default]));
}

/** The body of the request: what differs from the defaults or must be there. Empty fields are left out. */
export function requestOf(fields: FormField[], values: FormValues): FormValues {
  const filled = fields.filter((field) => {
    const value = values[field.name];
    const empty = value === undefined || value === "" || (Array.isArray(value) && value.length === 0);
    return !empty && (field.required || JSON.stringify(value) !== JSON.stringify(field.default));
  });
  return Object.fromEntries(filled.map((field) => [field.name, values[field.name]]));
}
