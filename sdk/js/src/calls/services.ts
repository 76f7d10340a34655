/** `client.services`: each call creates a job of its kind. */

import { sourceOf, type Uploadable } from "../http/files.js";
import { type CallOptions, fetchJson, type Session } from "../http/transport.js";
import type { CreatedJob } from "../models.js";
import { TextStream } from "../text.js";
import { type JsonObject, snakeCased } from "../verification/shape.js";
import { artifactAddress, storeSource } from "./artifacts.js";
import { type CreateOptions, createJob, creation, type JobOptions } from "./jobs.js";

/**
 * A file for a service: its address (`https://...`, `artifact:sha256:...`), or the file itself, which is uploaded
 * first. In Node any other string is a path.
 */
export type ServiceFile = Uploadable;

/** What service calls take. */
export interface WaitOptions extends CreateOptions {
  /** Seconds, at most 60: the answer is held until the job ends and then has `results`. */
  waitSeconds?: number | undefined;
}

/** What every service takes: options of the job and of the call. Further fields of the service may stand beside. */
export interface ServiceOptions extends JobOptions, WaitOptions {
  model?: string | undefined;
  [name: string]: unknown;
}

/** What transcriptions take; `task` is `transcribe` or `translate`. */
export interface TranscribeOptions extends ServiceOptions {
  language?: string | undefined;
  task?: "transcribe" | "translate" | undefined;
  wordTimestamps?: boolean | undefined;
}

/** What transcoding takes; `resolution` is `WIDTHxHEIGHT`. */
export interface TranscodeOptions extends ServiceOptions {
  outputFormat?: string | undefined;
  codec?: string | undefined;
  resolution?: string | undefined;
}

/** What making pictures takes; `size` is `WIDTHxHEIGHT`, `image` a picture to begin from, `mask` what of it may change. */
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

/** What writing takes; `maxTokens` bounds the length of what is written. */
export interface InferOptions extends ServiceOptions {
  messages?: readonly Message[] | undefined;
  maxTokens?: number | undefined;
  temperature?: number | undefined;
  stop?: string | readonly string[] | undefined;
}

/** What rendering takes; the resolution is in pixels, `frames` such as `"1-48"`. */
export interface RenderOptions extends ServiceOptions {
  engine?: "cycles" | "eevee" | undefined;
  resolutionX?: number | undefined;
  resolutionY?: number | undefined;
  samples?: number | undefined;
  frame?: number | undefined;
  frames?: string | readonly number[] | undefined;
}

/** What running a Python model takes. */
export interface RunOptions extends JobOptions, CreateOptions {
  /** The file that `predict` gets the path of. */
  input?: Uploadable | undefined;
  /** The file that defines `predict`; without it the program's own name, or `model.py`. */
  entrypoint?: string | undefined;
  /** Packages that the program needs. */
  requirements?: readonly string[] | undefined;
  /** What `predict` gets beside its input. */
  parameters?: JsonObject | undefined;
}

const PROGRAM = /^[A-Za-z0-9_-][A-Za-z0-9_.-]*\.py$/;
const ARCHIVE = /\.(?:zip|tar|tar\.gz|tgz)$/i;
const ADDRESS = /^(?:https?:\/\/|artifact:)/;

/** Services: each call creates a job of its kind. */
export class Services {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /**
   * Create a job through the service at `route` (below `/v1/services/`, such as `whisper/transcribe`).
   *
   * @param body - Options of the job with JavaScript's names or the API's, and the service's own fields.
   */
  call(route: string, body: object, options: WaitOptions = {}): Promise<CreatedJob> {
    const path = `/v1/services/${route.replace(/^\/+|\/+$/g, "")}`;
    return fetchJson(this.#session, creation(path, snakeCased(body), options));
  }

  /** Transcribe speech. */
  transcribe(audio: ServiceFile, options: TranscribeOptions = {}): Promise<CreatedJob> {
    return this.#call("whisper/transcribe", { audioUrl: audio }, options);
  }

  /** Transcode a video or audio. */
  transcode(video: ServiceFile, options: TranscodeOptions = {}): Promise<CreatedJob> {
    return this.#call("ffmpeg/transcode", { inputUrl: video }, options);
  }

  /** Make pictures from words. */
  generate(prompt: string, options: GenerateOptions = {}): Promise<CreatedJob> {
    const { image, mask, ...more } = options;
    return this.#call("stable-diffusion/generate", { imageUrl: image, maskUrl: mask }, { prompt, ...more });
  }

  /** Have a language model write: about a prompt, or (without one) what comes next in a conversation, the `messages`. */
  infer(prompt: string | InferOptions, options: InferOptions = {}): Promise<CreatedJob> {
    const body = typeof prompt === "string" ? { prompt, ...options } : prompt;
    return this.#call("llm/inference", {}, body);
  }

  /** As `infer`, but the text can be read while it is written: iterate over what this returns. The job exists then. */
  async stream(prompt: string | InferOptions, options: InferOptions = {}): Promise<TextStream> {
    const job = await this.infer(prompt, options);
    const { signal } = typeof prompt === "string" ? options : prompt;
    return new TextStream(this.#session, job, signal);
  }

  /** Render a scene, a .blend file. */
  render(blend: ServiceFile, options: RenderOptions = {}): Promise<CreatedJob> {
    return this.#call("blender/render", { blendFileUrl: blend }, options);
  }

  /**
   * Run a Python program, whose `predict(input, **parameters)` makes the result. Program and input are uploaded to the
   * job. The program is one file, or an archive that holds `entrypoint`.
   */
  async run(program: Uploadable, options: RunOptions = {}): Promise<CreatedJob> {
    const { input, requirements = [], entrypoint, idempotencyKey, signal, ...body } = options;
    const name = nameOf(program);
    const isArchive = ARCHIVE.test(name);
    const start = entrypoint ?? (PROGRAM.test(name) ? name : "model.py");
    const files: Record<string, Uploadable> = { [isArchive ? name : start]: program };
    const job: Record<string, unknown> = {
      ...body,
      type: "ai_inference",
      model: { type: "python", entrypoint: start, requirements },
    };
    if (input !== undefined) {
      const format = /\.([A-Za-z0-9]{1,10})$/.exec(nameOf(input))?.[1];
      job.input = { type: "file", format };
      files.input = input;
    }
    return createJob(this.#session, job, { files, idempotencyKey, signal });
  }

  async #call(
    route: string,
    files: Record<string, ServiceFile | undefined>,
    { idempotencyKey, waitSeconds, signal, ...body }: ServiceOptions & Record<string, unknown>,
  ): Promise<CreatedJob> {
    const addresses: Record<string, string> = {};
    for (const [name, content] of Object.entries(files)) {
      if (content !== undefined) addresses[name] = await this.#address(content, { signal });
    }
    return this.call(route, { ...addresses, ...body }, { idempotencyKey, waitSeconds, signal });
  }

  async #address(content: ServiceFile, options: CallOptions): Promise<string> {
    if (typeof content === "string" && ADDRESS.test(content)) return content;
    return artifactAddress(await storeSource(this.#session, await sourceOf(content), options));
  }
}

function nameOf(content: Uploadable): string {
  if (typeof content === "string") return content.split(/[\\/]/).at(-1) ?? "";
  return content instanceof Blob && "name" in content && typeof content.name === "string" ? content.name : "";
}
