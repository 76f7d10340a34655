/** What a job was given: its parameters and its input files. */
import type { JobDetails, JobInput } from "@aitbc/client";
import type { ComponentChildren } from "preact";
import { Facts } from "../../components/figures/figures.tsx";
import { Icon } from "../../components/icon.tsx";
import { compactJson, withRanges } from "../../format/json.ts";
import { sentence } from "../../format/names.ts";
import { size } from "../../format/size.ts";
import { Download } from "../../results/files.tsx";
import { labelOf } from "../../schema/fields.ts";

/** Longer texts are collapsed. */
const LONG_TEXT = 400;

/** Return whether a job was given anything. */
export function isGiven({ parameters, inputs }: JobDetails): boolean {
  return inputs.length > 0 || Object.keys(parameters).length > 0;
}

export function Given({ details: { parameters, inputs } }: { details: JobDetails }) {
  const fields = inputs.map(({ field }) => field);
  const facts = flat(parameters).filter(([name]) => !fields.includes(name.replace(/\.inline$/, "")));
  return (
    <>
      {inputs.length > 0 && (
        <ul class="files">
          {inputs.map((input) => (
            <Input key={input.field} input={input} text={inlineText(parameters, input.field)} />
          ))}
        </ul>
      )}
      <Facts items={facts.map(([name, value]) => [labelOf(name), shown(value)])} />
    </>
  );
}

/** Return the leaves of the parameters by dotted name. Messages and other lists stay whole. */
function flat(parameters: Record<string, unknown>, prefix = ""): [string, unknown][] {
  return Object.entries(parameters).flatMap(([name, value]): [string, unknown][] =>
    value && typeof value === "object" && !Array.isArray(value)
      ? flat(value as Record<string, unknown>, `${prefix}${name}.`)
      : [[prefix + name, value]],
  );
}

/** Return a file's text if the request contains it. */
function inlineText(parameters: Record<string, unknown>, field: string): string | undefined {
  const found = flat(parameters).find(([name]) => name === `${field}.inline`);
  return found && String(found[1]);
}

function shown(value: unknown): ComponentChildren {
  if (value === null || value === undefined) return undefined;
  if (typeof value === "boolean") return value ? "Yes" : "No";
  if (Array.isArray(value) && value.every((item) => typeof item !== "object")) {
    return shown(withRanges(value).join(", "));
  }
  if (isConversation(value)) {
    return value.map(({ role, content }, index) => (
      <p class="given-text" key={index}>
        <span class="quiet">{sentence(role)}: </span>
        {content}
      </p>
    ));
  }
  const text = typeof value === "object" ? compactJson(value) : String(value);
  const content =
    typeof value === "object" ? <pre class="json">{text}</pre> : <p class="given-text">{text}</p>;
  if (text.length <= LONG_TEXT) return content;
  return (
    <details class="fold">
      <summary>{text.slice(0, 60)}…</summary>
      {content}
    </details>
  );
}

/** Return whether a value is a list of messages that consist of text. */
function isConversation(value: unknown): value is { role: string; content: string }[] {
  return (
    Array.isArray(value) &&
    value.every((item) => typeof item?.role === "string" && typeof item.content === "string")
  );
}

function Input({ input, text }: { input: JobInput; text: string | undefined }) {
  const { field, name, artifactId, url, size: bytes } = input;
  const label = name === field ? labelOf(field) : name;
  const file = artifactId && {
    artifact_id: artifactId,
    name,
    media_type: "application/octet-stream",
    size: bytes ?? 0,
  };
  return (
    <li>
      <Icon name="file" />
      <span class="files-name">
        {text === undefined ? label : <Text label={label} text={text} />}{" "}
        {url && <span class="quiet small">{url}</span>}
      </span>
      {bytes !== undefined && <span class="quiet small">{size(bytes)}</span>}
      {file && <Download file={file} />}
    </li>
  );
}

function Text({ label, text }: { label: string; text: string }) {
  return (
    <details class="fold">
      <summary>{label}</summary>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it may be wider than the page, so the keyboard must be able to scroll it */}
      <pre class="json" tabIndex={0}>
        {text}
      </pre>
    </details>
  );
}
