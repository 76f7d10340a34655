/** A job's output files, and links to them. */
import type { JsonObject } from "@aitbc/client";
import { useEffect, useState } from "preact/hooks";
import { Button } from "../components/controls/button.tsx";
import { CopyButton } from "../components/controls/copyable.tsx";
import { Icon } from "../components/icon.tsx";
import { complain } from "../components/toast.tsx";
import { plural, size } from "../format/size.ts";
import { api } from "../session.ts";
import { savedText } from "../verification.ts";

export interface OutputFile {
  artifact_id: string;
  name: string;
  media_type: string;
  size: number;
}

/** Half of a link's default lifetime. */
const LINK_MS = 30 * 60 * 1000;

const links = new Map<string, { url: Promise<string>; until: number }>();

/** Sealed files, which this browser opens: their job by the id of the artifact with the ciphertext. */
const sealedIn = new Map<string, string>();
const opened = new Map<string, Promise<string>>();

/** Have the output files in the results of a sealed job opened. */
export function openSealed(jobId: string, results: JsonObject): void {
  for (const file of filesIn(results)) sealedIn.set(file.artifact_id, jobId);
}

/** Return a URL of an opened file, which exists in this page only. */
function openedUrl(jobId: string, artifactId: string): Promise<string> {
  const known = opened.get(artifactId);
  if (known) return known;
  const url = api("client")
    .jobs.blob(jobId, artifactId)
    .then((blob) => URL.createObjectURL(blob));
  opened.set(artifactId, url);
  url.catch(() => opened.delete(artifactId));
  return url;
}

/** Return a URL that reads a file without a key, for elements such as <img> that load their source themselves. */
export function linkTo(artifactId: string): Promise<string> {
  const jobId = sealedIn.get(artifactId);
  if (jobId) return openedUrl(jobId, artifactId);
  const known = links.get(artifactId);
  if (known && known.until > Date.now()) return known.url;
  const url = api("client")
    .artifacts.link(artifactId)
    .then((link) => link.url);
  links.set(artifactId, { url, until: Date.now() + LINK_MS });
  url.catch(() => links.delete(artifactId));
  return url;
}

/** The link to a file, or undefined until it is known. */
export function useLink(artifactId: string | undefined): string | undefined {
  const [url, setUrl] = useState<string>();
  useEffect(() => {
    let mounted = true;
    setUrl(undefined);
    if (artifactId) linkTo(artifactId).then((url) => mounted && setUrl(url), complain);
    return () => {
      mounted = false;
    };
  }, [artifactId]);
  return url;
}

export function isFile(value: unknown): value is OutputFile {
  return typeof value === "object" && value !== null && "artifact_id" in value && "media_type" in value;
}

/** Return all files in some results, at any depth. */
export function filesIn(value: unknown): OutputFile[] {
  if (isFile(value)) return [value];
  if (typeof value !== "object" || value === null) return [];
  return Object.values(value).flatMap(filesIn);
}

export function Files({ results }: { results: JsonObject }) {
  const files = filesIn(results);
  if (files.length === 0) return null;
  return (
    <ul class="files">
      {files.map((file) => (
        <li key={file.artifact_id + file.name}>
          <Icon name="file" />
          <span class="files-name">{file.name}</span>
          <span class="quiet small">{size(file.size)}</span>
          <Download file={file} />
        </li>
      ))}
    </ul>
  );
}

export function Download({ file }: { file: OutputFile }) {
  const url = useLink(file.artifact_id);
  return (
    <Button
      size="small"
      kind="plain"
      icon="download"
      label={`Download ${file.name}`}
      download={baseName(file.name)}
      {...(url ? { href: url } : { disabled: true })}
    />
  );
}

/** A button that downloads the file of a result, or all of them. */
export function DownloadAll({ results }: { results: JsonObject }) {
  const files = filesIn(results);
  const only = files.length === 1 ? files[0] : undefined;
  const url = useLink(only?.artifact_id);
  if (files.length === 0) {
    const { text } = results;
    return typeof text === "string" ? <TextActions text={text} /> : null;
  }
  if (only) {
    return (
      <Button
        icon="download"
        label={`Download ${only.name}`}
        download={baseName(only.name)}
        {...(url ? { href: url } : { disabled: true })}
      >
        Download
      </Button>
    );
  }
  const download = async () => {
    for (const file of files) {
      const link = document.createElement("a");
      link.href = await linkTo(file.artifact_id);
      link.download = baseName(file.name);
      link.click();
    }
  };
  return (
    <Button icon="download" onClick={download}>
      Download {plural(files.length, "file")} ({size(files.reduce((sum, file) => sum + file.size, 0))})
    </Button>
  );
}

function TextActions({ text }: { text: string }) {
  return (
    <span class="row">
      <CopyButton text={text} noun="text" />
      <Button icon="download" onClick={() => savedText(text, "text/plain", "result.txt")}>
        Download as text
      </Button>
    </span>
  );
}

function baseName(name: string): string {
  return name.split("/").at(-1) ?? name;
}
