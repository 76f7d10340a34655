/** Uploads that go on where they were when a connection breaks: tus 1.0, by tus-js-client, which is loaded when needed. */

import type { DetailedError, Upload } from "tus-js-client";
import { newDigest } from "./digest.js";
import { type AITBCError, apiError, TimeoutError, TransportError } from "./errors.js";
import type { OnProgress, Source } from "./files.js";
import { backoffDelay, joined, type Session } from "./transport.js";

/** Bytes of one request: what is in memory at a time, and what proxies let through. */
const PART = 16 * 2 ** 20;
/** Another request is busy with the upload, or the coordinator cannot take it now. */
const PASSING: ReadonlySet<number> = new Set([409, 423, 429]);
const SERVER_ERROR = 500;

/** What became of an upload: the artifact that the coordinator stored, and the SHA-256, in hex, of what was sent. */
export interface Uploaded {
  artifactId: string;
  size: number;
  sha256: string;
}

/**
 * Upload a file in parts. Throws `APIError`, `TransportError`, `TimeoutError`, what reading throws, and the reason of
 * the signal.
 */
export async function uploadResumably(
  session: Session,
  source: Source,
  options: { onProgress?: OnProgress | undefined; signal?: AbortSignal | undefined },
): Promise<Uploaded> {
  const tus = await import("tus-js-client");
  options.signal?.throwIfAborted();
  const parts = new Parts(source);
  const size = parts.size ?? undefined;
  const artifactId = await new Promise<string>((resolve, reject) => {
    const upload = new tus.Upload(source.content as Blob, {
      endpoint: `${session.baseUrl}/v1/uploads`,
      headers: session.apiKey === undefined ? {} : { Authorization: `Bearer ${session.apiKey}` },
      metadata: { filename: source.name, filetype: source.mediaType },
      chunkSize: PART,
      // Another process cannot know how much of this file it had read.
      storeFingerprintForResuming: false,
      fingerprint: async () => "",
      fileReader: { openFile: async () => parts as Parts & { size: number } },
      uploadLengthDeferred: size === undefined,
      retryDelays: Array.from({ length: session.retries }, (_, attempt) => backoffDelay(attempt)),
      onShouldRetry: (error) => parts.failure === undefined && isPassing(error),
      onBeforeRequest: () => silence.touch(),
      onProgress: (sent) => {
        silence.touch();
        options.onProgress?.(sent, size);
      },
      onSuccess: ({ lastResponse }) => end(() => resolve(lastResponse.getHeader("Upload-Artifact-Id") ?? "")),
      onError: (error) => end(() => reject(parts.failure ?? failure(error))),
    });
    const silence = new Silence(session, upload, (error) => end(() => reject(error)));
    const abort = () => {
      void upload.abort();
      end(() => reject(options.signal?.reason));
    };
    const end = (settle: () => void) => {
      silence.close();
      options.signal?.removeEventListener("abort", abort);
      settle();
    };
    options.signal?.addEventListener("abort", abort);
    upload.start();
  });
  return { artifactId, size: parts.position, sha256: parts.digest() };
}

function isPassing(error: DetailedError): boolean {
  const status = error.originalResponse?.getStatus() ?? 0;
  return status === 0 || PASSING.has(status) || status >= SERVER_ERROR;
}

function failure(error: Error | DetailedError): AITBCError {
  const answer = "originalResponse" in error ? error.originalResponse : null;
  if (answer && answer.getStatus() > 0) return apiError(answer.getStatus(), answer.getBody());
  const cause: unknown = "causingError" in error ? error.causingError : error;
  // Browsers say by an event that a connection broke, and not why.
  const reason = cause instanceof Error ? cause.message : "the network failed";
  return new TransportError(`The connection to the coordinator broke during an upload: ${reason}.`, {
    cause: error,
  });
}

/** Begins a request anew when nothing has moved for too long, and gives up in the end. */
class Silence {
  readonly #session: Session;
  readonly #upload: Upload;
  readonly #giveUp: (error: TimeoutError) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #left: number;

  constructor(session: Session, upload: Upload, giveUp: (error: TimeoutError) => void) {
    this.#session = session;
    this.#upload = upload;
    this.#giveUp = giveUp;
    this.#left = session.retries;
    this.touch();
  }

  touch(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#over(), this.#session.timeoutMs);
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #over(): void {
    void this.#upload.abort();
    if (this.#left === 0) {
      this.#giveUp(new TimeoutError("The coordinator did not take a part of an upload in time."));
      return;
    }
    this.#left -= 1;
    this.touch();
    this.#upload.start();
  }
}

/** The file in parts, as tus-js-client reads it. It hashes what it reads, so that the answer can be checked. */
class Parts {
  readonly size: number | null;
  /** How far the file was read. */
  position = 0;
  /** What reading threw. */
  failure: unknown;
  readonly #content: Source["content"];
  readonly #hash = newDigest();
  #kept: Uint8Array<ArrayBuffer> = new Uint8Array();
  #rest: Uint8Array = new Uint8Array();
  #ended = false;

  constructor(source: Source) {
    this.#content = source.content;
    this.size = source.content instanceof Blob ? source.content.size : null;
  }

  digest(): string {
    return this.#hash.hex();
  }

  /** The bytes from `start` on, at most to before `end`. What is before `start` was read already. */
  async slice(start: number, end: number): Promise<{ value: Uint8Array & { size: number }; done: boolean }> {
    const value = await this.#read(start, end);
    const done = this.#ended && start + value.length === this.position;
    // The library asks a body for its `size`.
    return { value: Object.assign(value, { size: value.length }), done };
  }

  close(): void {}

  async #read(start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const kept = this.position - this.#kept.length;
    if (start < this.position && start >= kept) return this.#kept.slice(start - kept, end - kept);
    try {
      this.#kept =
        this.#content instanceof Blob
          ? new Uint8Array(await this.#content.slice(start, end).arrayBuffer())
          : await this.#pull(this.#content, end - start);
    } catch (error) {
      this.failure = error;
      throw error;
    }
    this.#hash.update(this.#kept);
    this.position += this.#kept.length;
    this.#ended ||= this.position === this.size;
    return this.#kept.slice();
  }

  async #pull(pieces: AsyncIterator<Uint8Array>, wanted: number): Promise<Uint8Array<ArrayBuffer>> {
    const found = [this.#rest];
    let size = this.#rest.length;
    while (size < wanted && !this.#ended) {
      const next = await pieces.next();
      if (next.done) this.#ended = true;
      else {
        found.push(next.value);
        size += next.value.length;
      }
    }
    const all = joined(found);
    this.#rest = all.subarray(wanted);
    return all.slice(0, wanted);
  }
}
