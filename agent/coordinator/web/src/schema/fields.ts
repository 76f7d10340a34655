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
  /** Of a file: it may also be written out in the form. */
  inline: boolean;
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
  entrypoint: "Entry point",
  source: "Program",
  "model.entrypoint": "Entry point",
  "model.requirements": "Packages",
  "model.source": "Program",
  "input.source": "Input file",
  "input.format": "Ending of the input file",
  "input.type": "Kind of input",
};

/** Longer texts than this get several lines. */
export const SHORT_TEXT = 300;

/** The fields of a form for a service's input, files first, then in the schema's order; those of nested objects have dotted names. */
export function fieldsOf(schema: JsonSchema): FormField[] {
  const example = schema.examples?.[0];
  const shown = new Set([...(schema.required ?? []), ...Object.keys(isObject(example) ? example : {})]);
  const fields = inside(schema, schema, { prefix: "", advanced: (name) => !shown.has(name) });
  // What a job is about comes first: its files are chosen before anything is set.
  return [
    ...fields.filter((field) => field.kind === "file"),
    ...fields.filter((field) => field.kind !== "file"),
  ];
}

interface Place {
  /** The dotted name of the object that the fields are in, with a dot at its end. */
  prefix: string;
  advanced: (name: string) => boolean;
}

function inside(schema: JsonSchema, root: JsonSchema, place: Place): FormField[] {
  const sentences = explanations(schema.description ?? "");
  return Object.entries(schema.properties ?? {}).flatMap(([name, unresolved]) => {
    const property = resolved(unresolved, root);
    // A field with one possible value asks nothing.
    if (property.const !== undefined) return [];
    if (property.properties) {
      const nested = {
        prefix: `${place.prefix}${name}.`,
        advanced: (inner: string) => isMinor(property, inner),
      };
      return inside(property, root, nested);
    }
    return [fieldOf(name, property, schema, sentences, place)];
  });
}

/** Of an object within the input only what must be there and its files are shown at first. */
function isMinor(schema: JsonSchema, name: string): boolean {
  return !schema.required?.includes(name) && !schema.properties?.[name]?.["x-aitbc-file"];
}

function fieldOf(
  name: string,
  property: JsonSchema,
  parent: JsonSchema,
  sentences: string[],
  place: Place,
): FormField {
  return {
    name: place.prefix + name,
    label: labelOf(place.prefix + name),
    help: helpOf(name, property, sentences),
    kind: kindOf(name, property),
    required: parent.required?.includes(name) ?? false,
    advanced: place.advanced(name),
    default: property.default ?? undefined,
    options: (property.enum ?? property.items?.enum ?? []).map(String),
    whole: property.type === "integer",
    least: property.minimum,
    most: property.maximum,
    maxLength: property.maxLength,
    inline: takesText(property),
    placeholder: property.examples?.[0] === undefined ? undefined : `for example ${property.examples[0]}`,
  };
}

function takesText(property: JsonSchema): boolean {
  return property.anyOf?.some((choice) => choice.$ref === "#/$defs/Inline") ?? false;
}

/** What a field holds, with references followed and "or null" left out: that only says that it may stay empty. */
function resolved(property: JsonSchema, root: JsonSchema): JsonSchema {
  if (property.$ref) {
    const { $ref, ...rest } = property;
    return { ...root.$defs?.[$ref.replace("#/$defs/", "")], ...rest };
  }
  const choices = property.anyOf?.filter((choice) => choice.type !== "null");
  const [choice] = choices ?? [];
  if (!choice) return property;
  // A field with several forms keeps them, and is filled in in the first.
  const { anyOf: _, ...rest } = property;
  const form = resolved(choice, root);
  return choices && choices.length > 1 ? { ...form, ...rest, anyOf: choices } : { ...form, ...rest };
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
  const mark = `\`${name}\``;
  const parts = [...(property.description ? [property.description] : []), ...sentences.filter(has(mark))];
  return parts.map((text) => forPeople(text, mark)).join(" ") || undefined;
}

function has(mark: string): (text: string) => boolean {
  return (text) => text.includes(mark);
}

/** A sentence as it reads below its field: without the field's own name at its beginning, and None as what it is in a form. */
function forPeople(text: string, mark: string): string {
  const rest = text.startsWith(mark)
    ? text
        .slice(mark.length)
        .replace(/^ (is|are)\b/, "")
        .trim()
    : text;
  const named = rest
    .replaceAll(/`([a-z_]+)`/g, (_, name: string) => `\u201c${labelOf(name)}\u201d`)
    .replaceAll("`", "")
    .replaceAll(/\bNone\b/g, "empty");
  return named.charAt(0).toUpperCase() + named.slice(1);
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What is written in a form, by the names of its fields. A file to upload is a `File`. */
export type FormValues = Record<string, unknown>;

/** What a new form holds: the schema's defaults. */
export function initialValues(fields: FormField[]): FormValues {
  return Object.fromEntries(fields.map((field) => [field.name, field.default]));
}

/** The request: what must be there, or differs from its default. Empty fields are left out. */
export function requestOf(fields: FormField[], values: FormValues): Record<string, unknown> {
  const request: Record<string, unknown> = {};
  for (const field of fields) {
    const value = values[field.name];
    const empty = value === undefined || value === "" || (Array.isArray(value) && value.length === 0);
    if (empty || (!field.required && JSON.stringify(value) === JSON.stringify(field.default))) continue;
    place(request, field.name.split("."), value);
  }
  return request;
}

function place(target: Record<string, unknown>, [name = "", ...rest]: string[], value: unknown): void {
  if (rest.length === 0) {
    target[name] = value;
    return;
  }
  const nested = target[name];
  const object = isObject(nested) ? nested : {};
  target[name] = object;
  place(object, rest, value);
}

/** Stands for a file that is not uploaded yet, where a request is only checked. */
const ANY_FILE = `artifact:sha256:${"0".repeat(64)}`;

/** A request with something else in the place of its files; `address` gives each one's. */
export function withFiles(
  values: FormValues,
  address: (name: string) => string = () => ANY_FILE,
): FormValues {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, value instanceof File ? address(name) : value]),
  );
}

/**
 * What the choice of a file says about fields beside it: `model.source` that of its entry point, `input.source` how the input's name
 * ends. Fields that are filled in already are left alone.
 */
export function suggested(fields: FormField[], values: FormValues, name: string, value: unknown): FormValues {
  const beside = name.slice(0, name.lastIndexOf(".") + 1);
  const names = new Set(fields.map((field) => field.name));
  const fileName = value instanceof File ? value.name : isObject(value) ? "model.py" : "";
  const ending = /\.([A-Za-z0-9]{1,10})$/.exec(fileName)?.[1];
  const found: FormValues = {};
  if (!beside || !ending) return found;
  const fill = (field: string, text: string) => {
    if (names.has(beside + field) && !values[beside + field]) found[beside + field] = text;
  };
  if (ending === "py") fill("entrypoint", fileName);
  fill("format", ending.toLowerCase());
  return found;
}
