/**
 * Accepts files that are dropped, chosen or pasted.
 *
 *   <FileDrop label="Audio" accept="audio/*,video/*" files={files} onFiles={setFiles} error={errors.audio_url} />
 *   <FileDrop label="Receipt" prompt="Drop a receipt here" files={[]} onFiles={([file]) => check(file)} />
 *
 * `progress` is the upload progress of these files in percent. With `several`, it accepts more than one file.
 */
import { useId, useRef, useState } from "preact/hooks";
import { size } from "../../format/size.ts";
import { Progress } from "../figures/progress.tsx";
import { Icon } from "../icon.tsx";
import { Button } from "./button.tsx";

export interface FileDropProps {
  label: string;
  files: File[];
  onFiles: (files: File[]) => void;
  prompt?: string | undefined;
  /** What the chosen file is, such as its duration. */
  about?: string | undefined;
  accept?: string | undefined;
  several?: boolean;
  progress?: number | undefined;
  help?: string | undefined;
  error?: string | undefined;
}

export function FileDrop({ label, files, onFiles, several = false, accept, ...rest }: FileDropProps) {
  const { prompt = several ? "Drop files here" : "Drop a file here", about, progress, help, error } = rest;
  const input = useRef<HTMLInputElement>(null);
  const [over, setOver] = useState(false);
  const id = useId();
  const addFiles = (list: FileList | null | undefined) => {
    const added = [...(list ?? [])];
    if (added.length > 0) onFiles(several ? [...files, ...added] : added.slice(0, 1));
  };
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    addFiles(event.dataTransfer?.files);
  };
  return (
    <div class="field" data-field={label}>
      <span class="field-label" id={`${id}-label`}>
        {label}
      </span>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: dropping is a shortcut; the button inside does the same */}
      <div
        class="drop"
        data-over={over}
        aria-invalid={error ? "true" : undefined}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={drop}
        onPaste={(event) => addFiles(event.clipboardData?.files)}
      >
        <Icon name={files.length > 0 ? "file" : "upload"} />
        <div class="drop-text">
          {files.length > 0 ? (
            files.map((file) => <FileLine key={file.name} file={file} about={about} />)
          ) : (
            <p>{prompt}</p>
          )}
        </div>
        {files.length > 0 && progress === undefined && (
          <Button size="small" kind="plain" onClick={() => onFiles([])}>
            Remove
          </Button>
        )}
        <Button size="small" onClick={() => input.current?.click()} disabled={progress !== undefined}>
          {files.length > 0 && !several ? "Choose another" : several ? "Choose files" : "Choose a file"}
        </Button>
        {progress !== undefined && <Progress label={`Upload of ${label}`} value={progress} />}
        <input
          ref={input}
          type="file"
          hidden
          aria-labelledby={`${id}-label`}
          accept={accept}
          multiple={several}
          onChange={(event) => {
            addFiles(event.currentTarget.files);
            event.currentTarget.value = "";
          }}
        />
      </div>
      {error && <p class="field-error">{error}</p>}
      {help && <p class="field-help">{help}</p>}
    </div>
  );
}

function FileLine({ file, about }: { file: File; about: string | undefined }) {
  return (
    <p>
      <span class="drop-name">{file.name}</span>{" "}
      <span class="quiet">{[size(file.size), about].filter(Boolean).join(", ")}</span>
    </p>
  );
}
