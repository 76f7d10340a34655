/** Uploads that go on where they were when a connection breaks: tus 1.0, over the requests that all calls are made of. */

import { APIError, TimeoutError, TransportError } from "../errors.js";
import { newDigest } from "../verification/digest.js";
import type { OnProgress, Source } from "./files.js";
import { backoffDelay, joined, open, part, pause, request, type Session } from "./transport.js";

/**
 * Bytes of one request, which is in memory as a whole: small enough at first that a slow connection takes one in time
 * and progress is seen, then as many as go through in about a second.
 */
const SMALLEST_PART = 2 ** 20;
const LARGEST_PART = 16 * 2 ** 20;
const QUICK_MS = 1000;
const SLOW_MS = 4000;
/** Another request is busy with the upload, or the coordinator cannot take it now. */
const PASSING: ReadonlySet<number> = new Set([409, 423, 429]);
const SERVER_ERROR = 500;
const VERSION = { "Tus-Resumable": "1.0.0" };

/** What became of an upload: the artifact that the coordinator stored, and the SHA-256, in hex, of what was sent. */
export interface Uploaded {
  artifactId: string;
  size: number;
  sha256: string;
}

/** What an upload takes beside its source. */
interface ResumableOptions {
  onProgress?: OnProgress | undefined;
  signal?: AbortSignal | undefined;
}

/** How far an upload is; `artifactId` is there once it has ended. */
interface State {
  offset: number;
  artifactId: string | null;
}

/**
 * Upload a file in parts. Throws `APIError`, `TransportError`, `TimeoutError`, what reading throws, and the reason of
 * the signal.
 *
 * This speaks the protocol itself. The library for it (tus-js-client) is two thirds of the rest of this package in size,
 * and what it brings beside the protocol (its own requests, fingerprints, parallel uploads) is not used here.
 */
export async function uploadResumably(
  session: Session,
  source: Source,
  options: ResumableOptions,
): Promise<Uploaded> {
  options.signal?.throwIfAborted();
  const parts = new Parts(source);
  const upload = await begin(session, source, parts.size, options.signal);
  let state: State = { offset: 0, artifactId: null };
  let partSize = SMALLEST_PART;
  for (let attempt = 0, unknown = false; state.artifactId === null; ) {
    const begun = performance.now();
    try {
      if (unknown) {
        const { offset } = state;
        state = await stateOf(session, upload, options.signal);
        // What a broken connection brought counts, and shows that the network is of use.
        if (state.offset > offset) attempt = 0;
        unknown = false;
        continue;
      }
      unknown = true;
      const { offset } = state;
      const { value, done } = await parts.slice(offset, offset + partSize);
      state = await send(session, upload, { value, offset, last: done, signal: options.signal });
      if (state.artifactId === null && state.offset <= offset) {
        throw new TransportError(`The coordinator takes no more than ${offset} bytes of this file.`);
      }
      unknown = false;
      attempt = 0;
    } catch (error) {
      if (!isPassing(error) || attempt >= session.retries) throw error;
      await pause(backoffDelay(attempt++), options.signal);
    }
    partSize = nextSize(partSize, performance.now() - begun);
    options.onProgress?.(state.offset, parts.size ?? undefined);
  }
  return { artifactId: state.artifactId, size: parts.position, sha256: parts.digest() };
}

/** Begin an upload; its path. One whose answer got lost is begun again, and the first is dropped by the coordinator. */
async function begin(
  session: Session,
  source: Source,
  size: number | null,
  signal: AbortSignal | undefined,
): Promise<string> {
  const metadata = [`filename ${base64(source.name)}`, `filetype ${base64(source.mediaType)}`].join(",");
  const length = size === null ? { "Upload-Defer-Length": "1" } : { "Upload-Length": String(size) };
  const answer = await request(session, {
    method: "POST",
    path: "/v1/uploads",
    headers: { ...VERSION, ...length, "Upload-Metadata": metadata },
    repeatable: true,
    signal,
  });
  const { upload_id: uploadId } = JSON.parse(await answer.text());
  return `/v1/uploads/${part(String(uploadId))}`;
}

/** Send a part. With the last one the coordinator is told the length, which a stream does not say before. */
async function send(
  session: Session,
  path: string,
  sent: { value: Uint8Array<ArrayBuffer>; offset: number; last: boolean; signal: AbortSignal | undefined },
): Promise<State> {
  const answer = await open(session, {
    method: "PATCH",
    path,
    headers: {
      ...VERSION,
      "Content-Type": "application/offset+octet-stream",
      "Upload-Offset": String(sent.offset),
      ...(sent.last ? { "Upload-Length": String(sent.offset + sent.value.length) } : {}),
    },
    body: sent.value,
    signal: sent.signal,
  });
  answer.close();
  return read(answer.headers);
}

/** How far the coordinator has an upload. */
async function stateOf(session: Session, path: string, signal: AbortSignal | undefined): Promise<State> {
  const answer = await request(session, { method: "HEAD", path, headers: VERSION, repeatable: true, signal });
  answer.close();
  return read(answer.headers);
}

function read(headers: Headers): State {
  const offset = headers.get("upload-offset") ?? "";
  if (!/^[0-9]+$/.test(offset)) {
    throw new TransportError("The answer to a part of an upload is not a coordinator's.");
  }
  return { offset: Number(offset), artifactId: headers.get("upload-artifact-id") };
}

function isPassing(error: unknown): boolean {
  if (error instanceof APIError) return PASSING.has(error.status) || error.status >= SERVER_ERROR;
  return error instanceof TransportError || error instanceof TimeoutError;
}

function nextSize(size: number, took: number): number {
  if (took < QUICK_MS) return Math.min(LARGEST_PART, size * 2);
  return took > SLOW_MS ? Math.max(SMALLEST_PART, size / 2) : size;
}

/** A text in UTF-8 and base64. */
function base64(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

/** The file in parts. It hashes what it reads, so that the answer can be checked. */
class Parts {
  readonly size: number | null;
  /** How far the file was read. */
  position = 0;
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

  /** The bytes from `start` on, at most to before `end`; `done` where nothing follows. What is before `start` was read already. */
  async slice(start: number, end: number): Promise<{ value: Uint8Array<ArrayBuffer>; done: boolean }> {
    const value = await this.#read(start, end);
    return { value, done: this.#ended && start + value.length === this.position };
  }

  async #read(start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const kept = this.position - this.#kept.length;
    if (start < this.position && start >= kept) return this.#kept.slice(start - kept, end - kept);
    this.#kept =
      this.#content instanceof Blob
        ? new Uint8Array(await this.#content.slice(start, end).arrayBuffer())
        : await this.#pull(this.#content, end - start);
    this.#hash.update(this.#kept);
    this.position += this.#kept.length;
    this.#ended ||= this.position === this.size;
    return this.#kept;
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
