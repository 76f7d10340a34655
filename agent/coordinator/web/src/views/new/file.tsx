/** A field for a file: from this device, from an address or, if the service allows it, typed into the form. */
import { useState } from "preact/hooks";
import { TextField } from "../../components/controls/field.tsx";
import { FileDrop } from "../../components/controls/file-drop.tsx";
import { Segments } from "../../components/controls/segments.tsx";
import { size } from "../../format/size.ts";
import { type FormField, isObject } from "../../schema/fields.ts";
import { mediaText, useMedia } from "./media.ts";

type Source = "file" | "address" | "text";

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
  const [source, setSource] = useState<Source>(sourceOf(value));
  const file = value instanceof File ? value : undefined;
  const media = useMedia(file);
  const choose = (next: string) => {
    setSource(next as Source);
    onInput(next === "text" ? { inline: PROGRAM } : undefined);
  };
  const options = [
    { value: "file", label: "File" },
    { value: "address", label: "Address" },
    ...(field.inline ? [{ value: "text", label: "Write it here" }] : []),
  ];
  return (
    <div class="stack file-field" data-gap="2">
      <Segments
        label={`Source of ${field.label.toLowerCase()}`}
        value={source}
        onInput={choose}
        options={options}
      />
      {source === "file" && (
        <FileDrop
          {...shared}
          files={file ? [file] : []}
          onFiles={([file]) => onInput(file)}
          accept={field.accept}
          prompt={field.maxFile === undefined ? undefined : `Drop a file here, up to ${size(field.maxFile)}`}
          about={mediaText(media)}
          progress={progress}
        />
      )}
      {source === "address" && (
        <TextField
          {...shared}
          value={typeof value === "string" ? value : ""}
          onInput={onInput}
          placeholder="https://\u2026 or the id of an uploaded file, sha256:\u2026"
        />
      )}
      {source === "text" && (
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

function sourceOf(value: unknown): Source {
  if (isObject(value) && "inline" in value) return "text";
  return typeof value === "string" ? "address" : "file";
}
