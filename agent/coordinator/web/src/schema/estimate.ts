/** Estimates a job's cost: its units, as far as the form determines them, at the current typical price. */
import type { Service } from "@aitbc/client";
import { inFormWords } from "../errors.ts";
import { count, plural } from "../format/size.ts";
import { duration } from "../format/time.ts";
import type { FormField } from "./fields.ts";

export interface Media {
  /** Seconds; undefined for a picture. */
  duration: number | undefined;
  width: number | undefined;
  height: number | undefined;
}

type Request = Record<string, unknown>;

const MEGA = 1_000_000;
/** Units for each second of audio without video. */
const SOUND_ONLY = 0.1;
const SOUND_FORMATS = new Set(["mp3", "m4a", "ogg", "flac", "wav"]);
/** Characters of an English token. */
const TOKEN = 4;
const ANSWER_TOKENS = 256;

/** The metered units of a request, and what they were counted from, in words. */
interface Amount {
  units: number | undefined;
  basis: string;
  /** The job may end with fewer units. */
  isLimit?: boolean;
}

/** By service; undefined if the form does not determine the units. */
const AMOUNTS: Record<string, (request: Request, media: Media | undefined) => Amount | undefined> = {
  whisper_transcription: (_, media) =>
    media?.duration === undefined
      ? undefined
      : { units: media.duration, basis: `${duration(media.duration)} of sound` },
  image_generation: ({ size, steps, num_images = 1 }) => ({
    units: product(area(size), steps, num_images),
    basis: `${plural(Number(num_images), "picture")} of ${size}, ${steps} steps`,
  }),
  llm_inference: ({ prompt, max_tokens = ANSWER_TOKENS, n = 1 }) => {
    if (typeof prompt !== "string") return undefined;
    const read = tokens([prompt]);
    const written = product(max_tokens, n);
    return {
      units: written === undefined ? undefined : written + read,
      basis: `about ${plural(read, "token")} to read and up to ${count(Number(written))} to write`,
      isLimit: true,
    };
  },
  text_embedding: ({ input }) => {
    if (!Array.isArray(input) || input.length === 0) return undefined;
    const read = tokens(input.map(String));
    return { units: read, basis: `${plural(input.length, "text")}, about ${plural(read, "token")}` };
  },
  text_reranking: ({ query, documents }) => {
    if (typeof query !== "string" || !Array.isArray(documents) || documents.length === 0) return undefined;
    // The model reads the query again with each of the texts.
    const read = tokens(documents.map((document) => `${query}${document}`));
    return { units: read, basis: `${plural(documents.length, "text")}, about ${plural(read, "token")}` };
  },
  speech_synthesis: ({ input }) =>
    typeof input === "string" && input !== ""
      ? { units: [...input].length, basis: plural([...input].length, "character") }
      : undefined,
  blender_rendering: (request) => {
    const { resolution_x: width, resolution_y: height, samples } = request;
    const frames = frameCount(request);
    return {
      units: product(width, height, 1 / MEGA, samples, frames),
      basis: `${plural(frames ?? 0, "frame")} of ${width}x${height}, ${samples} samples`,
    };
  },
  video_transcoding: (request, media) => {
    const length = media?.duration === undefined ? undefined : lengthOf(request, media.duration);
    if (length === undefined) return undefined;
    if (SOUND_FORMATS.has(String(request.output_format))) {
      return { units: length * SOUND_ONLY, basis: `${duration(length)} of sound` };
    }
    const size = area(request.resolution) ?? product(media?.width, media?.height, 1 / MEGA);
    const named = request.resolution ?? `${media?.width}x${media?.height}`;
    return { units: product(length, size), basis: `${duration(length)} of video at ${named}` };
  },
};

/** Return the seconds that a cut leaves of a file's length. */
function lengthOf({ start = 0, end, duration }: Request, whole: number): number | undefined {
  const last = end ?? (duration === undefined ? whole : Number(start) + Number(duration));
  const length = Math.min(Number(last), whole) - Number(start);
  return product(length);
}

function tokens(texts: string[]): number {
  return texts.reduce((total, text) => total + Math.ceil(text.length / TOKEN), 0);
}

export interface Estimate {
  units: number;
  /** What the units were counted from, such as "3 min of sound". */
  basis: string;
  /** Whether the job may end with fewer units. */
  isLimit: boolean;
  /** Units times the typical price. */
  cost: number;
}

/** Return the estimated cost of a request, or undefined if the form does not determine it, or has values that no job can have. */
export function estimated(service: Service, request: Request, media?: Media): Estimate | undefined {
  const amount = AMOUNTS[service.serviceId]?.(request, media);
  if (!amount?.units || !service.price) return undefined;
  const { units, basis, isLimit = false } = amount;
  return { units, basis, isLimit, cost: units * Number(service.price.typical) };
}

/** What an estimate needs, by service. */
const NEEDED: Record<string, string> = {
  whisper_transcription: "Add a file to see the price",
  video_transcoding: "Add a file to see the price",
  image_generation: "With a size and steps, you see the price",
  llm_inference: "Write a prompt to see the price",
  text_embedding: "Enter texts to see the price",
  text_reranking: "Enter a question and texts to see the price",
  speech_synthesis: "Write a text to see the price",
  blender_rendering: "With width, height and samples, you see the price",
};

/** Return why there is no estimate. */
export function estimateHint(serviceId: string, request: Request): string {
  const needed = NEEDED[serviceId];
  // Only the browser's own files show their length, and not all of them.
  return needed === undefined || (needed.startsWith("Add a file") && hasFile(request))
    ? "Known when the job ends"
    : needed;
}

function hasFile(request: Request): boolean {
  return Object.entries(request).some(([name, value]) => name.endsWith("_url") && Boolean(value));
}

function product(...factors: unknown[]): number | undefined {
  return factors.every((factor) => typeof factor === "number" && Number.isFinite(factor) && factor > 0)
    ? factors.reduce<number>((total, factor) => total * (factor as number), 1)
    : undefined;
}

/** Return the megapixels of "WIDTHxHEIGHT". */
function area(size: unknown): number | undefined {
  const [width, height] = String(size ?? "")
    .split("x")
    .map(Number);
  return product(width, height, 1 / MEGA);
}

/** Return the number of frames in "1-48" or "1,5,9-12"; 1 without a list. */
export function frameCount(request: Request): number | undefined {
  const { frames } = request;
  if (frames === undefined) return 1;
  if (Array.isArray(frames)) return frames.length;
  const spans = String(frames).split(",");
  const counts = spans.map((span) => {
    const [first, last = first] = span.split("-").map(Number);
    return first !== undefined && last !== undefined ? last - first + 1 : Number.NaN;
  });
  const total = counts.reduce((sum, count) => sum + count, 0);
  return total > 0 ? total : undefined;
}

/** Return the first file in a form's values. */
export function firstFile(values: Request): File | undefined {
  return Object.values(values).find((value): value is File => value instanceof File);
}

/** Return validation errors or warnings by form field, in the form's words. One about an item of a list belongs to the list. */
export function byField(
  problems: { field: string; message: string }[],
  fields: FormField[],
): Record<string, string> {
  const found: Record<string, string> = {};
  for (const { field, message } of problems) {
    const { name = field } =
      fields.find(({ name, hidden }) => !hidden && (field === name || field.startsWith(`${name}.`))) ??
      fields.find(({ name, instead }) => instead && field === name) ??
      // An object is missing or incomplete: its first required field is.
      fields.find(({ name, required }) => required && name.startsWith(`${field}.`)) ??
      {};
    found[name] ??= capital(withLabels(message.split("\n", 1)[0] ?? "", fields));
  }
  return found;
}

/** Replace names of fields that cannot be anything else in a sentence, such as "image_url", by their labels. */
function withLabels(message: string, fields: FormField[]): string {
  const labels = new Map(fields.map(({ name, label }) => [name, label]));
  return inFormWords(message).replaceAll(/\b[a-z]+(?:_[a-z]+)+\b/g, (name) => {
    const label = labels.get(name);
    return label === undefined ? name : `\u201c${label}\u201d`;
  });
}

function capital(message: string): string {
  const text = message.charAt(0).toUpperCase() + message.slice(1);
  return /[.?!]$/.test(text) ? text : `${text}.`;
}
