/** A field for a file: one of this device, an address, or where the service takes it a text written here. */
import { useState } from "preact/hooks";
import { TextField } from "../../components/controls/field.tsx";
import { FileDrop } from "../../components/controls/file-drop.tsx";
import { Segments } from "../../components/controls/segments.tsx";
import { type FormField, isObject } from "../../schema/fields.ts";

type Way = "file" | "address" | "text";

export interface FileControlProps {
  field: FormField;
  label: string;
  help: string | undefined;
  error: string | undefined;
  required: boolean;
  value: unknown;
  onInput: (value: unknown) => void;
  progress: number | undefined;
}

const PROGRAM = "def predict(input, **parameters):\n    return {}\n";

export function FileControl({ field, value, onInput, progress, ...shared }: FileControlProps) {
  const [way, setWay] = useState<Way>(wayOf(value));
  const go = (next: string) => {
    setWay(next as Way);
    onInput(next === "text" ? { inline: PROGRAM } : undefined);
  };
  const options = [
    { value: "file", label: "File" },
    { value: "address", label: "Address" },
    ...(field.inline ? [{ value: "text", label: "Write it here" }] : []),
  ];
  return (
    <div class="file-field">
      <Segments label={`Where ${field.label.toLowerCase()} is`} value={way} onInput={go} options={options} />
      {way === "file" && (
        <FileDrop
          {...shared}
          files={value instanceof File ? [value] : []}
          onFiles={([file]) => onInput(file)}
          progress={progress}
        />
      )}
      {way === "address" && (
        <TextField
          {...shared}
          value={typeof value === "string" ? value : ""}
          onInput={onInput}
          placeholder="https://\u2026 or artifact:sha256:\u2026"
        />
      )}
      {way === "text" && (
        <TextField
          {...shared}
          lines={10}
          code
          value={isObject(value) ? String(value.inline ?? "") : ""}
          onInput={(text) => onInput({ inline: text })}
        />
      )}
    </div>
  );
}

function wayOf(value: unknown): Way {
  if (isObject(value) && "inline" in value) return "text";
  return typeof value === "string" ? "address" : "file";
}
