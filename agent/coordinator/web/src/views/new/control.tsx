/** The control for a field of a service's schema. */
import {
  CheckField,
  ChoicesField,
  NumberField,
  type Option,
  SelectField,
  TextField,
} from "../../components/controls/field.tsx";
import { sentence } from "../../format/names.ts";
import { type FormField, SHORT_TEXT } from "../../schema/fields.ts";
import { FileControl } from "./file.tsx";

export interface ControlProps {
  field: FormField;
  value: unknown;
  onInput: (value: unknown) => void;
  error: string | undefined;
  warning: string | undefined;
  models: Option[];
  /** How far the upload of this field's file is, in percent. */
  progress: number | undefined;
}

export function Control({ field, value, onInput, error, warning, models, progress }: ControlProps) {
  const help = [warning, field.help].filter(Boolean).join(" ") || undefined;
  const shared = {
    label: field.label,
    help,
    error,
    required: field.required,
    quiet: hasChoice(field),
    onInput,
  };
  const { placeholder } = field;
  switch (field.kind) {
    case "flag":
      return <CheckField {...shared} checked={value === true} />;
    case "number":
      return (
        <NumberField
          {...shared}
          placeholder={placeholder}
          value={value as number | undefined}
          least={field.least}
          most={field.most}
          whole={field.whole}
        />
      );
    case "choice":
      return <Choice {...shared} field={field} value={value} />;
    case "choices": {
      const options = field.options.map((option) => ({ value: option, label: option }));
      return <ChoicesField {...shared} values={(value as string[] | undefined) ?? []} options={options} />;
    }
    case "model":
      return (
        <SelectField {...shared} value={String(value ?? "")} options={withEmpty(models, field, value)} />
      );
    case "file":
      return <FileControl {...shared} field={field} value={value} progress={progress} />;
    case "names":
      return <Names {...shared} value={value} />;
    case "json":
      return <JsonText {...shared} placeholder={placeholder} value={value} />;
    default: {
      const lines = (field.maxLength ?? 0) > SHORT_TEXT ? 4 : 1;
      return <TextField {...shared} placeholder={placeholder} lines={lines} value={String(value ?? "")} />;
    }
  }
}

/** Whether leaving the field alone means something that it shows. */
function hasChoice(field: FormField): boolean {
  return field.default !== undefined || field.kind === "choice" || field.kind === "model";
}

type Shared = Pick<FormField, "label" | "required"> & {
  quiet: boolean;
  help: string | undefined;
  error: string | undefined;
  onInput: (value: unknown) => void;
  value: unknown;
};

/** Words of a few, in the way that choices of a few are read. */
function Choice({ field, value, onInput, ...shared }: Shared & { field: FormField }) {
  const options = field.options.map((option) => ({ value: option, label: sentence(option) }));
  const choose = (chosen: string) =>
    onInput(chosen === "" ? undefined : field.whole ? Number(chosen) : chosen);
  return (
    <SelectField
      {...shared}
      value={String(value ?? "")}
      onInput={choose}
      options={withEmpty(options, field, value)}
    />
  );
}

/** Where nothing is chosen, that must be one of the choices. */
function withEmpty(options: Option[], field: FormField, value: unknown): Option[] {
  if (field.default !== undefined) return options;
  if (field.required) return value ? options : [{ value: "", label: "Choose one" }, ...options];
  return [{ value: "", label: "Default" }, ...options];
}

/** A list of names, one a line or with commas between them. */
function Names({ value, onInput, ...shared }: Shared) {
  const names = (value as string[] | undefined) ?? [];
  const read = (text: string) => onInput(text.split(/[\n,]+ */));
  return (
    <TextField {...shared} value={names.join(", ")} onInput={read} placeholder="one or more, with commas" />
  );
}

/** JSON as it is written; text that is none yet is sent as it stands, and refused with the reason. */
function JsonText({ value, onInput, ...shared }: Shared & { placeholder: string | undefined }) {
  const text = typeof value === "string" ? value : isEmpty(value) ? "" : JSON.stringify(value, null, 2);
  const read = (text: string) => {
    try {
      onInput(text.trim() === "" ? undefined : JSON.parse(text));
    } catch {
      onInput(text);
    }
  };
  return <TextField {...shared} lines={3} code value={text} onInput={read} />;
}

function isEmpty(value: unknown): boolean {
  return value === undefined || (typeof value === "object" && Object.keys(value ?? {}).length === 0);
}
