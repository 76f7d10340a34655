/** `client.services`: run a service. Each call creates a job. */

import { FormatError } from "../errors.js";
import { sourceOf, type Uploadable } from "../http/files.js";
import { type CreateOptions, creation } from "../http/jobs.js";
import { type CallOptions, fetchJson } from "../http/transport.js";
import type { CreatedJob } from "../models.js";
import { TextStream } from "../text.js";
import { type JsonObject, snakeCased, snakeName } from "../verification/shape.js";
import { artifactAddress, storeSource } from "./artifacts.js";
import { Calls } from "./calls.js";
import { createJob, type JobOptions, sealedJob } from "./new_job.js";

/**
 * A file for a service: an address (`https://...`, `artifact:sha256:...`), or the file itself, which is uploaded first. In
 * Node, any other string is a path.
 */
export type ServiceFile = Uploadable;

/** Options of service calls. */
export interface WaitOptions extends CreateOptions {
  /** Seconds, at most 60, to hold the response until the job ends. It then contains `results`. */
  waitSeconds?: number | undefined;
}

/** Options of every service: those of the job and of the call, and any other field of the service. */
export interface ServiceOptions extends JobOptions, WaitOptions {
  model?: string | undefined;
  [name: string]: unknown;
}

/** Options of a transcription. */
export interface TranscribeOptions extends ServiceOptions {
  language?: string | undefined;
  task?: "transcribe" | "translate" | undefined;
  wordTimestamps?: boolean | undefined;
}

/** Options of transcoding; `resolution` is `WIDTHxHEIGHT`. */
export interface TranscodeOptions extends ServiceOptions {
  outputFormat?: string | undefined;
  codec?: string | undefined;
  resolution?: string | undefined;
}

/** Options of image generation; `size` is `WIDTHxHEIGHT`, `image` the initial image, `mask` its part that may change. */
export interface GenerateOptions extends ServiceOptions {
  size?: string | undefined;
  numImages?: number | undefined;
  steps?: number | undefined;
  seed?: number | undefined;
  negativePrompt?: string | undefined;
  image?: ServiceFile | undefined;
  mask?: ServiceFile | undefined;
}

/** A message of a conversation. */
export interface Message {
  role: "system" | "user" | "assistant";
  content: string;
}

/** Options of a language model; `maxTokens` limits the length of the text. */
export interface InferOptions extends ServiceOptions {
  messages?: readonly Message[] | undefined;
  maxTokens?: number | undefined;
  temperature?: number | undefined;
  stop?: string | readonly string[] | undefined;
}

/** Options of embedding; `dimensions` shortens the vectors. */
export interface EmbedOptions extends ServiceOptions {
  dimensions?: number | undefined;
}

/** Options of reranking; `documentTokens` cuts long documents. */
export interface RerankOptions extends ServiceOptions {
  documentTokens?: number | undefined;
}

/** Options of speech; `outputFormat` is that of the file. */
export interface SpeakOptions extends ServiceOptions {
  voice?: string | undefined;
  outputFormat?: "mp3" | "opus" | "aac" | "flac" | "wav" | "pcm" | undefined;
  speed?: number | undefined;
  language?: string | undefined;
}

/** Options of rendering; the resolution is in pixels, `frames` is a range such as `"1-48"`. */
export interface RenderOptions extends ServiceOptions {
  engine?: "cycles" | "eevee" | undefined;
  resolutionX?: number | undefined;
  resolutionY?: number | undefined;
  samples?: number | undefined;
  frame?: number | undefined;
  frames?: string | readonly number[] | undefined;
}

/** Options of running a Python model. */
export interface RunOptions extends JobOptions, CreateOptions {
  /** The input file, whose path is passed to `predict`. */
  input?: Uploadable | undefined;
  /** The file that defines `predict`. Defaults to the program's file name or `model.py`. */
  entrypoint?: string | undefined;
  /** Packages that the program needs. */
  requirements?: readonly string[] | undefined;
  /** Whether it returns the same for the same input on every machine, so that its result can be `audited`. */
  deterministic?: boolean | undefined;
  /** Further arguments of `predict`. */
  parameters?: JsonObject | undefined;
}

/** The services by the route of their call. */
const SERVICES: Readonly<Record<string, string>> = {
  "whisper/transcribe": "whisper_transcription",
  "stable-diffusion/generate": "image_generation",
  "llm/inference": "llm_inference",
  "ffmpeg/transcode": "video_transcoding",
  "text/embedding": "text_embedding",
  "text/reranking": "text_reranking",
  "speech/synthesize": "speech_synthesis",
  "blender/render": "blender_rendering",
};
const PROGRAM = /^[A-Za-z0-9_-][A-Za-z0-9_.-]*\.py$/;
const ARCHIVE = /\.(?:zip|tar|tar\.gz|tgz)$/i;
const ADDRESS = /^(?:https?:\/\/|artifact:)/;

/** Run a service. Each call creates a job. */
export class Services extends Calls {
  /**
   * Create a job with the service at `route` (relative to `/v1/services/`, such as `whisper/transcribe`).
   *
   * @param body - Options of the job, with JavaScript's or the API's names, and the service's own fields.
   */
  call(route: string, body: object, options: WaitOptions = {}): Promise<CreatedJob> {
    const name = route.replace(/^\/+|\/+$/g, "");
    const { seal = false, ...json } = snakeCased(body);
    if (seal) return this.#sealed(name, {}, json, options);
    return fetchJson(this.session, creation(`/v1/services/${name}`, json, options));
  }

  /** Transcribe speech. */
  transcribe(audio: ServiceFile, options: TranscribeOptions = {}): Promise<CreatedJob> {
    return this.#call("whisper/transcribe", { audioUrl: audio }, options);
  }

  /** Transcode a video or audio. */
  transcode(video: ServiceFile, options: TranscodeOptions = {}): Promise<CreatedJob> {
    return this.#call("ffmpeg/transcode", { inputUrl: video }, options);
  }

  /** Generate images from a prompt. */
  generate(prompt: string, options: GenerateOptions = {}): Promise<CreatedJob> {
    const { image, mask, ...more } = options;
    return this.#call("stable-diffusion/generate", { imageUrl: image, maskUrl: mask }, { prompt, ...more });
  }

  /** Have a language model answer a prompt or, without one, continue a conversation (`messages`). */
  infer(prompt: string | InferOptions, options: InferOptions = {}): Promise<CreatedJob> {
    const body = typeof prompt === "string" ? { prompt, ...options } : prompt;
    return this.#call("llm/inference", {}, body);
  }

  /** Like `infer`, but return an iterable of the text as it is written, once the job is created. */
  async stream(prompt: string | InferOptions, options: InferOptions = {}): Promise<TextStream> {
    const job = await this.infer(prompt, options);
    const { signal } = typeof prompt === "string" ? options : prompt;
    return new TextStream(this.session, job, signal);
  }

  /** Turn texts into vectors. */
  embed(texts: readonly string[], options: EmbedOptions = {}): Promise<CreatedJob> {
    return this.#call("text/embedding", {}, { input: texts, ...options });
  }

  /** Score how relevant each document is to a query. */
  rerank(query: string, documents: readonly string[], options: RerankOptions = {}): Promise<CreatedJob> {
    return this.#call("text/reranking", {}, { query, documents, ...options });
  }

  /** Have a text read aloud. The results name the file (`audio`). */
  speak(text: string, options: SpeakOptions = {}): Promise<CreatedJob> {
    return this.#call("speech/synthesize", {}, { input: text, ...options });
  }

  /** Render a scene from a .blend file. */
  render(blend: ServiceFile, options: RenderOptions = {}): Promise<CreatedJob> {
    return this.#call("blender/render", { blendFileUrl: blend }, options);
  }

  /**
   * Run a Python program, whose `predict(input, **parameters)` returns the result. Program and input are uploaded. The
   * program is one file, or an archive that contains `entrypoint`.
   */
  async run(program: Uploadable, options: RunOptions = {}): Promise<CreatedJob> {
    const { input, requirements = [], deterministic, entrypoint, idempotencyKey, signal, ...body } = options;
    const name = nameOf(program);
    const isArchive = ARCHIVE.test(name);
    const start = entrypoint ?? (PROGRAM.test(name) ? name : "model.py");
    const files: Record<string, Uploadable> = { [isArchive ? name : start]: program };
    const job: Record<string, unknown> = {
      ...body,
      type: "ai_inference",
      model: { type: "python", entrypoint: start, requirements, deterministic },
    };
    if (input !== undefined) {
      const own = nameOf(input);
      const format = /\.([A-Za-z0-9]{1,10})$/.exec(own)?.[1];
      // Uploaded to the job under the program's name or as an archive, it would be taken for the program.
      const apart = !body.seal && (own === start || ARCHIVE.test(own));
      const source = apart ? await this.#address(input, { signal }) : undefined;
      if (!apart) files[body.seal ? "input.source" : own || "input"] = input;
      job.input = { type: "file", format, source };
    }
    return createJob(this.session, job, { files, idempotencyKey, signal });
  }

  async #call(
    route: string,
    files: Record<string, ServiceFile | undefined>,
    { idempotencyKey, waitSeconds, signal, seal = false, ...body }: ServiceOptions & Record<string, unknown>,
  ): Promise<CreatedJob> {
    if (seal) return this.#sealed(route, files, body, { idempotencyKey, waitSeconds, signal });
    const addresses: Record<string, string> = {};
    for (const [name, content] of Object.entries(files)) {
      if (content !== undefined) addresses[name] = await this.#address(content, { signal });
    }
    return this.call(route, { ...addresses, ...body }, { idempotencyKey, waitSeconds, signal });
  }

  /** Create a sealed job, which has no call of its own: the coordinator does not read its parameters. */
  #sealed(
    route: string,
    files: Record<string, ServiceFile | undefined>,
    body: Record<string, unknown>,
    options: WaitOptions,
  ): Promise<CreatedJob> {
    const given = Object.entries(files).flatMap(([name, content]) =>
      content === undefined ? [] : [[snakeName(name), content] as const],
    );
    const type = SERVICES[route];
    if (type === undefined)
      throw new FormatError(`Seal a job of this service with jobs.create: ${route} is unknown.`);
    const job = { ...snakeCased(body), type };
    return sealedJob(this.session, job, Object.fromEntries(given), options);
  }

  async #address(content: ServiceFile, options: CallOptions): Promise<string> {
    if (typeof content === "string" && ADDRESS.test(content)) return content;
    return artifactAddress(await storeSource(this.session, await sourceOf(content), options));
  }
}

function nameOf(content: Uploadable): string {
  if (typeof content === "string") return content.split(/[\\/]/).at(-1) ?? "";
  return content instanceof Blob && "name" in content && typeof content.name === "string" ? content.name : "";
}
