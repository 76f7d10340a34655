/** The control for a field of a service's schema. */
import type { JSX } from "preact";
import {
  CheckField,
  ChoicesField,
  NumberField,
  type Option,
  SelectField,
  TextField,
} from "../../components/controls/field.tsx";
import { sentence } from "../../format/names.ts";
import { type FieldKind, type FormField, SHORT_TEXT } from "../../schema/fields.ts";
import { FileControl } from "./file.tsx";

export interface ControlProps {
  field: FormField;
  value: unknown;
  onInput: (value: unknown) => void;
  error: string | undefined;
  warning: string | undefined;
  models: Option[];
  /** Progress of this field's upload, in percent. */
  progress: number | undefined;
}

/** What every kind of control gets. */
interface Shared {
  label: string;
  help: string | undefined;
  error: string | undefined;
  required: boolean;
  unit: string | undefined;
  quiet: boolean;
  onInput: (value: unknown) => void;
}

type Input = Omit<ControlProps, "warning" | "error" | "onInput"> & { shared: Shared };

export function Control({ field, error, warning, onInput, ...rest }: ControlProps) {
  const help = [warning, field.help].filter(Boolean).join(" ") || undefined;
  const { label, required = false, unit } = field;
  const shared = { label, help, error, required, unit, quiet: isPreset(field), onInput };
  return CONTROLS[field.kind]({ field, shared, ...rest });
}

/** Whether "optional" would add nothing: an untouched field shows its effective value, or is folded as all optional ones. */
function isPreset(field: FormField): boolean {
  return (
    field.default !== undefined ||
    field.empty !== undefined ||
    field.group !== undefined ||
    field.kind === "choice" ||
    field.kind === "model"
  );
}

const CONTROLS: Record<FieldKind, (input: Input) => JSX.Element> = {
  text,
  number: ({ shared, field: { placeholder, empty, min, max, integer }, value }) => (
    <NumberField
      {...shared}
      placeholder={empty ?? placeholder}
      value={value as number | undefined}
      min={min}
      max={max}
      integer={integer}
    />
  ),
  flag: ({ shared, value }) => <CheckField {...shared} checked={value === true} />,
  choice,
  choices: ({ shared, field, value }) => (
    <ChoicesField
      {...shared}
      values={(value as string[] | undefined) ?? []}
      options={optionsOf(field, (option) => option)}
    />
  ),
  model: ({ shared, field, value, models }) => (
    <SelectField {...shared} value={asText(value)} options={withEmpty(models, field, value)} />
  ),
  file: ({ shared, ...rest }) => <FileControl {...shared} {...rest} />,
  names,
  lines,
  time: text,
  labels: text,
  money: text,
  json,
};

function asText(value: unknown): string {
  return String(value ?? "");
}

function text({ shared, field, value }: Input) {
  const lines = (field.maxLength ?? 0) > SHORT_TEXT ? 4 : 1;
  return (
    <TextField
      {...shared}
      placeholder={field.empty ?? field.placeholder}
      suggestions={field.suggestions}
      lines={lines}
      value={asText(value)}
    />
  );
}

/** One value of an enum. */
function choice({ shared, field, value }: Input) {
  const choose = (chosen: string) =>
    shared.onInput(chosen === "" ? undefined : field.integer ? Number(chosen) : chosen);
  return (
    <SelectField
      {...shared}
      value={asText(value)}
      onInput={choose}
      options={withEmpty(optionsOf(field, sentence), field, value)}
    />
  );
}

/** Return the options of a field, with the names of its form or otherwise those that `nameOf` gives them. */
function optionsOf({ options = [], names }: FormField, nameOf: (option: string) => string): Option[] {
  return options.map((option) => ({ value: option, label: names?.[option] ?? nameOf(option) }));
}

/** Add an option for "nothing chosen" to the options of a field without a default. */
function withEmpty(options: Option[], field: FormField, value: unknown): Option[] {
  if (field.default !== undefined) return options;
  if (field.required) return value ? options : [{ value: "", label: "Choose one" }, ...options];
  return [{ value: "", label: field.empty ?? "Default" }, ...options];
}

/** A list of names, separated by commas or line breaks. */
function names({ shared, value }: Input) {
  const list = (value as string[] | undefined) ?? [];
  const read = (text: string) => shared.onInput(text.split(/[\n,]+ */));
  return (
    <TextField
      {...shared}
      value={list.join(", ")}
      onInput={read}
      placeholder="one or more, separated by commas"
    />
  );
}

/** A list of texts, one a line. */
function lines({ shared, field, value }: Input) {
  const list = (value as string[] | undefined) ?? [];
  const read = (text: string) => shared.onInput(text === "" ? undefined : text.split("\n"));
  return (
    <TextField
      {...shared}
      lines={field.required ? 6 : 3}
      placeholder={field.empty}
      value={list.join("\n")}
      onInput={read}
    />
  );
}

/** JSON as text. Text that is not JSON stays a string, which is an error. */
function json({ shared, field, value }: Input) {
  const shown = typeof value === "string" ? value : isBlank(value) ? "" : JSON.stringify(value, null, 2);
  const read = (text: string) => {
    try {
      shared.onInput(text.trim() === "" ? undefined : JSON.parse(text));
    } catch {
      shared.onInput(text);
    }
  };
  return (
    <TextField
      {...shared}
      placeholder={field.empty ?? field.placeholder}
      lines={3}
      code
      value={shown}
      onInput={read}
    />
  );
}

function isBlank(value: unknown): boolean {
  return value === undefined || (typeof value === "object" && Object.keys(value ?? {}).length === 0);
}
