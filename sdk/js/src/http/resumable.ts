/** Uploads that resume after a lost connection, with the tus 1.0 protocol. */

import { joined } from "../bytes.js";
import { APIError, TimeoutError, TransportError } from "../errors.js";
import { newDigest } from "../verification/digest.js";
import type { OnProgress, Source } from "./files.js";
import { backoffDelay, open, part, pause, request, type Session } from "./transport.js";

/**
 * Bytes of one request, which is held in memory. It starts small, so that a slow connection sends it in time and shows
 * progress, and grows to the amount that takes about a second.
 */
const SMALLEST_PART = 2 ** 20;
const LARGEST_PART = 16 * 2 ** 20;
const QUICK_MS = 1000;
const SLOW_MS = 4000;
/** Statuses of temporary conditions: another request holds the upload, or the coordinator is busy. */
const TRANSIENT: ReadonlySet<number> = new Set([409, 423, 429]);
const SERVER_ERROR = 500;
const VERSION = { "Tus-Resumable": "1.0.0" };

/** A completed upload: the stored artifact, and the SHA-256 (hex) of the bytes sent. */
export interface Uploaded {
  artifactId: string;
  size: number;
  sha256: string;
}

/** Options of an upload. */
interface ResumableOptions {
  onProgress?: OnProgress | undefined;
  signal?: AbortSignal | undefined;
}

/** An upload in progress. */
interface Upload {
  session: Session;
  path: string;
  parts: Parts;
  signal: AbortSignal | undefined;
}

/** The state of an upload; `artifactId` is null until it is complete. */
interface State {
  offset: number;
  artifactId: string | null;
}

/**
 * Upload a file in parts. Throws `APIError`, `TransportError`, `TimeoutError`, errors of reading the file, and the reason of
 * the signal.
 *
 * This implements the protocol itself. The library for it (tus-js-client) is two thirds the size of the rest of this
 * package, and its further features (its own requests, fingerprints, parallel uploads) are not needed.
 */
export async function uploadResumably(
  session: Session,
  source: Source,
  options: ResumableOptions,
): Promise<Uploaded> {
  options.signal?.throwIfAborted();
  const parts = new Parts(source);
  const path = await begin(session, source, parts.size, options.signal);
  const upload: Upload = { session, path, parts, signal: options.signal };
  let state: State = { offset: 0, artifactId: null };
  let partSize = SMALLEST_PART;
  for (let attempt = 0, isKnown = true; state.artifactId === null; ) {
    const started = performance.now();
    const { offset } = state;
    try {
      state = isKnown ? await sendPart(upload, offset, partSize) : await stateOf(upload);
      // Bytes that arrived before the connection broke count as progress.
      if (isKnown || state.offset > offset) attempt = 0;
      if (!isKnown) {
        isKnown = true;
        continue;
      }
    } catch (error) {
      if (!isTransient(error) || attempt >= session.retries) throw error;
      isKnown = false;
      await pause(backoffDelay(attempt++), options.signal);
    }
    partSize = nextSize(partSize, performance.now() - started);
    options.onProgress?.(state.offset, parts.size ?? undefined);
  }
  return { artifactId: state.artifactId, size: parts.position, sha256: parts.digest() };
}

/** Create an upload, and return its path. If the response is lost, another one is created and the first expires. */
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

/** Send the part at `offset`. With the last part, it declares the length, which is unknown for a stream before. */
async function sendPart(
  { session, path, parts, signal }: Upload,
  offset: number,
  size: number,
): Promise<State> {
  const { value, done } = await parts.slice(offset, offset + size);
  const answer = await open(session, {
    method: "PATCH",
    path,
    headers: {
      ...VERSION,
      "Content-Type": "application/offset+octet-stream",
      "Upload-Offset": String(offset),
      ...(done ? { "Upload-Length": String(offset + value.length) } : {}),
    },
    body: value,
    signal,
  });
  answer.close();
  const state = read(answer.headers);
  if (state.artifactId === null && state.offset <= offset) {
    throw new TransportError(`The coordinator accepts no more than ${offset} bytes of this file.`);
  }
  return state;
}

/** Ask the coordinator for the state of an upload. */
async function stateOf({ session, path, signal }: Upload): Promise<State> {
  const answer = await request(session, { method: "HEAD", path, headers: VERSION, repeatable: true, signal });
  answer.close();
  return read(answer.headers);
}

function read(headers: Headers): State {
  const offset = headers.get("upload-offset") ?? "";
  if (!/^[0-9]+$/.test(offset)) {
    throw new TransportError(
      "The response to a part of the upload has no valid Upload-Offset. Is this a coordinator's address?",
    );
  }
  return { offset: Number(offset), artifactId: headers.get("upload-artifact-id") };
}

function isTransient(error: unknown): boolean {
  if (error instanceof APIError) return TRANSIENT.has(error.status) || error.status >= SERVER_ERROR;
  return error instanceof TransportError || error instanceof TimeoutError;
}

function nextSize(size: number, took: number): number {
  if (took < QUICK_MS) return Math.min(LARGEST_PART, size * 2);
  return took > SLOW_MS ? Math.max(SMALLEST_PART, size / 2) : size;
}

/** Encode a text as UTF-8 and base64. */
function base64(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

/** Reads a file in parts, and hashes it to check the stored artifact. */
class Parts {
  readonly size: number | null;
  /** Number of bytes read. */
  position = 0;
  readonly #content: Source["content"];
  readonly #hash = newDigest();
  /** The last part, in case it must be sent again. */
  #part: Uint8Array<ArrayBuffer> = new Uint8Array();
  #rest: Uint8Array = new Uint8Array();
  #ended = false;

  constructor(source: Source) {
    this.#content = source.content;
    this.size = source.content instanceof Blob ? source.content.size : null;
  }

  digest(): string {
    return this.#hash.hex();
  }

  /** Return the bytes from `start` up to `end`, exclusive; `done` if they are the last. Bytes before `start` were read already. */
  async slice(start: number, end: number): Promise<{ value: Uint8Array<ArrayBuffer>; done: boolean }> {
    const value = await this.#read(start, end);
    return { value, done: this.#ended && start + value.length === this.position };
  }

  async #read(start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const partStart = this.position - this.#part.length;
    if (start < this.position && start >= partStart)
      return this.#part.slice(start - partStart, end - partStart);
    this.#part =
      this.#content instanceof Blob
        ? new Uint8Array(await this.#content.slice(start, end).arrayBuffer())
        : await this.#pull(this.#content, end - start);
    this.#hash.update(this.#part);
    this.position += this.#part.length;
    this.#ended ||= this.position === this.size;
    return this.#part;
  }

  async #pull(pieces: AsyncIterator<Uint8Array>, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const found = [this.#rest];
    let size = this.#rest.length;
    while (size < length && !this.#ended) {
      const next = await pieces.next();
      if (next.done) this.#ended = true;
      else {
        found.push(next.value);
        size += next.value.length;
      }
    }
    const all = joined(found);
    this.#rest = all.subarray(length);
    return all.slice(0, length);
  }
}
