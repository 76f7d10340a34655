/** Derives the fields of a form from a service's JSON Schema, in the words of its form if it has one. Knows no service by name. */
import { sentence } from "../format/names.ts";
import type { FieldKind, FormField } from "./form_field.ts";
import { clockText, rangesText, secondsIn, type WrittenForm, written } from "./written.ts";

export type { FieldKind, FormField } from "./form_field.ts";

/** The part of JSON Schema that the registry's schemas use. */
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
  "x-aitbc-form"?: WrittenForm;
  /** Bytes of the largest file that can be uploaded. */
  "x-aitbc-max-file"?: number;
}

/** Labels of fields whose names do not make good labels. */
const LABELS: Record<string, string> = {
  num_images: "Number of pictures",
  resolution_x: "Width",
  resolution_y: "Height",
  fps: "Frames per second",
  loras: "LoRAs",
  top_p: "Top p",
  top_k: "Top k",
  max_tokens: "Longest answer (tokens)",
  entrypoint: "Entry point",
  source: "Program",
  "model.entrypoint": "Entry point",
  "model.requirements": "Packages",
  "model.source": "Program",
  "input.source": "Input file",
  "input.format": "File extension of the input",
  "input.type": "Input type",
};

/** Fields that allow more characters than this get several lines. */
export const SHORT_TEXT = 300;

/** The group of the fields that the example of a schema without a form leaves out. */
const OTHERS = "More";

/**
 * Return the form fields of a service's input, in the order of its form; without one, files first, then in the schema's order. Nested
 * fields have dotted names.
 */
export function fieldsOf(schema: JsonSchema): FormField[] {
  const example = schema.examples?.[0];
  const shown = new Set([...(schema.required ?? []), ...Object.keys(isObject(example) ? example : {})]);
  const scope = { prefix: "", optional: false, advanced: (name: string) => !shown.has(name), example };
  const maxFile = schema["x-aitbc-max-file"];
  const fields = inside(schema, schema, scope).map((field) => ({ ...field, maxFile }));
  const form = schema["x-aitbc-form"];
  if (form) return written(form, fields);
  return [
    ...fields.filter((field) => field.kind === "file"),
    ...fields.filter((field) => field.kind !== "file"),
  ];
}

interface Scope {
  /** The dotted name of the enclosing object, with a trailing dot. */
  prefix: string;
  /** Whether a request may leave out the object. */
  optional: boolean;
  advanced: (name: string) => boolean;
  /** The schema's example of the enclosing object. */
  example: unknown;
}

function inside(schema: JsonSchema, root: JsonSchema, scope: Scope): FormField[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, unresolved]) => {
    const property = resolved(unresolved, root);
    // A constant needs no field.
    if (property.const !== undefined) return [];
    if (property.properties) {
      const optional = scope.optional || !schema.required?.includes(name);
      const nested = {
        prefix: `${scope.prefix}${name}.`,
        optional,
        advanced: (inner: string) =>
          isMinor(property, inner) || (optional && scope.advanced(name) && !isFile(property, inner)),
        example: isObject(scope.example) ? scope.example[name] : undefined,
      };
      return inside(property, root, nested);
    }
    return [fieldOf(name, property, schema, scope)];
  });
}

/** Whether a nested object's field is collapsed at first: one that is neither required nor a file. */
function isMinor(schema: JsonSchema, name: string): boolean {
  return !schema.required?.includes(name) && !isFile(schema, name);
}

function isFile(schema: JsonSchema, name: string): boolean {
  return schema.properties?.[name]?.["x-aitbc-file"] ?? false;
}

function fieldOf(name: string, property: JsonSchema, parent: JsonSchema, scope: Scope): FormField {
  const required = parent.required?.includes(name) ?? false;
  return {
    name: scope.prefix + name,
    label: labelOf(scope.prefix + name),
    help: property.description,
    kind: kindOf(name, property),
    required: required && !scope.optional,
    neededIn: required && scope.optional ? scope.prefix : undefined,
    group: scope.advanced(name) ? OTHERS : undefined,
    default: property.default ?? undefined,
    options: (property.enum ?? property.items?.enum ?? []).map(String),
    integer: property.type === "integer",
    min: property.minimum,
    max: property.maximum,
    above: property.exclusiveMinimum,
    maxLength: property.maxLength,
    example: property.examples?.[0] ?? (isObject(scope.example) ? scope.example[name] : undefined),
    inline: acceptsInline(property),
    placeholder: property.examples?.[0] === undefined ? undefined : `for example ${property.examples[0]}`,
  };
}

function acceptsInline(property: JsonSchema): boolean {
  return property.anyOf?.some((choice) => choice.$ref === "#/$defs/Inline") ?? false;
}

/** Resolve references, and drop "or null", which only means that the field may stay empty. */
function resolved(property: JsonSchema, root: JsonSchema): JsonSchema {
  if (property.$ref) {
    const { $ref, ...rest } = property;
    return { ...root.$defs?.[$ref.replace("#/$defs/", "")], ...rest };
  }
  const choices = property.anyOf?.filter((choice) => choice.type !== "null");
  const [choice] = choices ?? [];
  if (!choice) return property;
  // A field with several alternatives keeps them and takes its form from the first.
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

/** Return the label of a field: "Audio" for "audio_url", "Number of images" for "num_images". */
export function labelOf(name: string): string {
  return (
    LABELS[name] ??
    sentence(
      name
        .replace(/_url$/, "")
        .replace(/_file$/, " file")
        .replaceAll(".", " "),
    )
  );
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A form's values by field name. A file to upload is a `File`. */
export type FormValues = Record<string, unknown>;

/** Return the values of a new form: the schema's defaults. */
export function initialValues(fields: FormField[]): FormValues {
  return Object.fromEntries(fields.map((field) => [field.name, field.default]));
}

/** Return the request: required fields, and fields that differ from their default. Empty fields are left out. */
export function requestOf(fields: FormField[], values: FormValues): Record<string, unknown> {
  const request: Record<string, unknown> = {};
  for (const field of fields) {
    const given = values[field.name];
    const value = sent(field, given);
    if (
      isEmpty(value) ||
      given === "" ||
      (!field.required && JSON.stringify(value) === JSON.stringify(field.default ?? field.preset))
    )
      continue;
    assign(request, field.name.split("."), value);
  }
  return request;
}

/** Return a control's value as requests have it. */
function sent({ kind }: FormField, given: unknown): unknown {
  if (kind === "lines" && Array.isArray(given)) return given.filter((line) => String(line).trim() !== "");
  if (typeof given !== "string") return given;
  if (kind === "labels") return labelsIn(given);
  return kind === "time" ? (secondsIn(given) ?? given) : given;
}

/** Return a request's value as its control has it. */
function shown({ kind }: FormField, value: unknown): unknown {
  if (kind === "labels" && isObject(value)) return labelText(value);
  if (kind === "time" && typeof value === "number") return clockText(value);
  if (kind === "lines" && typeof value === "string") return [value];
  if (kind === "text" && typeof value === "number") return String(value);
  return kind === "text" && Array.isArray(value) ? rangesText(value as number[]) : value;
}

function assign(target: Record<string, unknown>, [name = "", ...rest]: string[], value: unknown): void {
  if (rest.length === 0) {
    target[name] = value;
    return;
  }
  const nested = target[name];
  const object = isObject(nested) ? nested : {};
  target[name] = object;
  assign(object, rest, value);
}

/** Return whether a field's value is empty, so that the request leaves it out. */
export function isEmpty(value: unknown): boolean {
  return value === undefined || value === "" || (Array.isArray(value) && value.length === 0);
}

/** Return the values of a form for an existing request, such as that of an earlier job. */
export function valuesOf(fields: FormField[], request: Record<string, unknown>): FormValues {
  const found: FormValues = {};
  for (const field of fields) {
    const value = at(request, field.name.split("."));
    if (value === undefined || value === null) continue;
    const shownIn = fields.find(({ name }) => name === field.instead) ?? field;
    found[shownIn.name] = shown(shownIn, value);
  }
  return found;
}

function at(value: unknown, path: string[]): unknown {
  return path.reduce<unknown>((inner, name) => (isObject(inner) ? inner[name] : undefined), value);
}

function labelText(labels: Record<string, unknown>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}:${value}`)
    .join(", ");
}

/** Return the labels in "project:demo, take:2", or undefined if the text is malformed. */
export function labelsIn(text: string): Record<string, string> | undefined {
  const pairs = text.split(/[\n,]/).flatMap((part) => part.trim() || []);
  const entries = pairs.map((pair) => /^([^:\s][^:]*?)\s*[:=]\s*(\S.*)$/.exec(pair)?.slice(1));
  if (entries.some((entry) => entry === undefined)) return undefined;
  return Object.fromEntries(entries as [string, string][]);
}

/** Placeholder for a file that is not uploaded yet, for validating a request. */
const ANY_FILE = `artifact:sha256:${"0".repeat(64)}`;

/** Replace each file with its `address`, by default a placeholder. */
export function withFiles(
  values: FormValues,
  address: (name: string) => string = () => ANY_FILE,
): FormValues {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, value instanceof File ? address(name) : value]),
  );
}

/**
 * Return values that a chosen file suggests for empty fields next to it: an entry point for `model.source`, a format for
 * `input.source`.
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
