/** Estimates a job's cost: its units, as far as the form determines them, at the current typical price. */
import type { Service } from "@aitbc/client";
import { quantity } from "../format/sale_units.ts";
import { plural } from "../format/size.ts";

export interface Media {
  /** Seconds. */
  duration: number;
  width: number | undefined;
  height: number | undefined;
}

type Request = Record<string, unknown>;

const MEGA = 1_000_000;
/** Units for each second of audio without video. */
const SOUND_ONLY = 0.1;
const SOUND_FORMATS = new Set(["mp3", "m4a", "ogg", "flac", "wav"]);

/** The metered units of a request, by service; undefined if the form does not determine them. */
const UNITS: Record<string, (request: Request, media: Media | undefined) => number | undefined> = {
  whisper_transcription: (_, media) => product(media?.duration),
  image_generation: (request) => product(area(request.size), request.steps, request.num_images ?? 1),
  llm_inference: (request) => product(request.max_tokens ?? 256),
  blender_rendering: (request) =>
    product(
      product(request.resolution_x, request.resolution_y, 1 / MEGA),
      request.samples,
      frameCount(request),
    ),
  video_transcoding: (request, media) => {
    if (!media) return undefined;
    if (SOUND_FORMATS.has(String(request.output_format))) return product(media.duration, SOUND_ONLY);
    const size = area(request.resolution) ?? product(media.width, media.height, 1 / MEGA);
    return product(media.duration, size);
  },
};

/** What a request asks for, in words, where that is clearer than its metered work. */
const ASKED: Record<string, (request: Request) => string | undefined> = {
  image_generation: ({ num_images = 1 }) => plural(Number(num_images), "picture"),
  blender_rendering: (request) => plural(frameCount(request) ?? 1, "frame"),
};

export interface Estimate {
  units: number;
  /** What the client gets: "3 pictures", "12.4 minutes of audio". */
  work: string;
  /** Units times the typical price. */
  cost: number;
}

/** Return the estimated cost of a request, or undefined if the form does not determine it, or has values that no job can have. */
export function estimated(service: Service, request: Request, media?: Media): Estimate | undefined {
  const units = UNITS[service.serviceId]?.(request, media);
  if (units === undefined || !service.price) return undefined;
  const work = ASKED[service.serviceId]?.(request) ?? quantity(units.toFixed(6), service);
  return { units, work, cost: units * Number(service.price.typical) };
}

/** Services whose units depend on the length of a file. */
const NEEDS_MEDIA = new Set(["whisper_transcription", "video_transcoding"]);

/** Return why there is no estimate. */
export function estimateHint(serviceId: string, request: Request): string {
  const needsFile = NEEDS_MEDIA.has(serviceId);
  // The browser reads the length of an own file only.
  if (!(serviceId in UNITS) || (needsFile && hasFile(request))) return "Known when the job ends";
  return needsFile ? "Add a file to see an estimate" : "Fill in the form to see an estimate";
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

/** Return validation errors or warnings by form field. One about an item of a list belongs to the list. */
export function byField(
  problems: { field: string; message: string }[],
  names: string[],
): Record<string, string> {
  const found: Record<string, string> = {};
  for (const { field, message } of problems) {
    const name = names.find((name) => field === name || field.startsWith(`${name}.`)) ?? field;
    found[name] ??= capital(message.split("\n", 1)[0] ?? "");
  }
  return found;
}

function capital(message: string): string {
  const text = message.charAt(0).toUpperCase() + message.slice(1);
  return /[.?!]$/.test(text) ? text : `${text}.`;
}
