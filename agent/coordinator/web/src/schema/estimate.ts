/** About what a job will cost: its units, as far as the form says them, at the price that is usual now. */
import type { Service } from "@aitbc/client";

export interface Media {
  /** Seconds. */
  duration: number;
  width: number | undefined;
  height: number | undefined;
}

type Request = Record<string, unknown>;

const MEGA = 1_000_000;
/** What a video without pictures counts for each second. */
const SOUND_ONLY = 0.1;
const SOUND_FORMATS = new Set(["mp3", "m4a", "ogg", "flac", "wav"]);

/** How many units a request will be metered, by service; undefined where the form does not say enough. */
const UNITS: Record<string, (request: Request, media: Media | undefined) => number | undefined> = {
  whisper_transcription: (_, media) => media?.duration,
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
    if (SOUND_FORMATS.has(String(request.output_format))) return media.duration * SOUND_ONLY;
    const size = area(request.resolution) ?? product(media.width, media.height, 1 / MEGA);
    return size === undefined ? undefined : media.duration * size;
  },
};

export interface Estimate {
  units: number;
  /** Units times the usual price. */
  cost: number;
}

/** What a request will cost, or undefined while that cannot be said. */
export function estimated(service: Service, request: Request, media?: Media): Estimate | undefined {
  const units = UNITS[service.serviceId]?.(request, media);
  if (units === undefined || !service.price) return undefined;
  return { units, cost: units * Number(service.price.typical) };
}

function product(...factors: unknown[]): number | undefined {
  return factors.every((factor) => typeof factor === "number")
    ? factors.reduce<number>((total, factor) => total * (factor as number), 1)
    : undefined;
}

/** Megapixels of "WIDTHxHEIGHT". */
function area(size: unknown): number | undefined {
  const [width, height] = String(size ?? "")
    .split("x")
    .map(Number);
  return width && height ? (width * height) / MEGA : undefined;
}

/** How many frames "1-48" or "1,5,9-12" are; one without. */
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

/** The first file in a form's values. */
export function firstFile(values: Request): File | undefined {
  return Object.values(values).find((value): value is File => value instanceof File);
}

/** Errors and warnings of a validation by field; those of a list's item stand at the list. */
export function byField(
  findings: { field: string; message: string }[],
  names: string[],
): Record<string, string> {
  const found: Record<string, string> = {};
  for (const { field, message } of findings) {
    const name = names.find((name) => field === name || field.startsWith(`${name}.`)) ?? field;
    found[name] ??= capital(message);
  }
  return found;
}

function capital(message: string): string {
  const text = message.charAt(0).toUpperCase() + message.slice(1);
  return /[.?!]$/.test(text) ? text : `${text}.`;
}
