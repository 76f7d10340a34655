/** Receives an artifact's bytes: resumes after a lost connection, and computes their digest. */

import { APIError, TransportError, VerificationError } from "../errors.js";
import { newDigest } from "../verification/digest.js";
import type { OnProgress } from "./files.js";
import { type Call, type CallOptions, open, type Session, waitToRetry } from "./transport.js";

/** Options of downloads. */
export interface DownloadOptions extends CallOptions {
  onProgress?: OnProgress | undefined;
}

const PARTIAL = 206;
const RANGE_NOT_SATISFIABLE = 416;

/** Receives the bytes of a download in order. `size` is the number of bytes so far. */
interface Sink {
  readonly size: number;
  readonly digest: string;
  write(chunk: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Discard all received bytes. */
  restart(): Promise<void>;
}

/** Receive the content from the sink's position on. Returns its media type. */
export async function receive(
  session: Session,
  artifactId: string,
  sink: Sink,
  options: DownloadOptions,
): Promise<string> {
  for (let attempt = 0; ; attempt++) {
    if (sink.size > 0 && sink.digest === digestOf(artifactId)) return "";
    const start = sink.size;
    // Loaded on demand, since few pages download.
    const { addressInStore, avoidStore } = await import("./direct.js");
    const url = await addressInStore(session, artifactId, options.signal);
    const call = callOf(artifactId, start, url, options.signal);
    try {
      return await receiveOnce(session, call, sink, options);
    } catch (error) {
      if (sink.size > start) attempt = 0;
      else if (url !== undefined && avoidStore(session, error)) continue;
      await recover(session, call, sink, error, attempt);
    }
  }
}

/** Prepare the next attempt. Throws the error if there is none. */
async function recover(
  session: Session,
  call: Call,
  sink: Sink,
  error: unknown,
  attempt: number,
): Promise<void> {
  const isBeyondEnd = error instanceof APIError && error.status === RANGE_NOT_SATISFIABLE;
  // A partial file that is too long is not the beginning of this file.
  if (isBeyondEnd && call.headers?.Range !== undefined) await sink.restart();
  else await waitToRetry(session, call, error, attempt);
}

function callOf(
  artifactId: string,
  start: number,
  url: string | undefined,
  signal: AbortSignal | undefined,
): Call {
  return {
    path: `/v1/artifacts/${artifactId}`,
    url,
    // The digest and byte ranges are of the uncompressed file.
    headers: { "Accept-Encoding": "identity", ...(start > 0 ? { Range: `bytes=${start}-` } : {}) },
    signal,
  };
}

async function receiveOnce(
  session: Session,
  call: Call,
  sink: Sink,
  options: DownloadOptions,
): Promise<string> {
  const start = sink.size;
  const answer = await open(session, call);
  const begin = answer.status === PARTIAL ? beginOf(answer.headers.get("content-range")) : 0;
  if (begin !== start && begin !== 0) {
    answer.close();
    throw new TransportError("The coordinator sent a different part of the file than requested.");
  }
  if (begin === 0 && start > 0) await sink.restart();
  const length = answer.headers.get("content-length");
  const total = length === null ? undefined : begin + Number(length);
  for await (const chunk of answer.chunks()) {
    await sink.write(chunk);
    options.onProgress?.(sink.size, total);
  }
  if (total !== undefined && sink.size < total) {
    throw new TransportError("The connection to the coordinator ended before the end of the file.");
  }
  return answer.headers.get("content-type") ?? "";
}

function beginOf(range: string | null): number {
  return Number(/^bytes ([0-9]+)-[0-9]+\/(?:[0-9]+|\*)$/.exec(range ?? "")?.[1] ?? Number.NaN);
}

/** Return the SHA-256 in an artifact id. */
export function digestOf(artifactId: string): string {
  return artifactId.slice("sha256:".length);
}

/** Throw `VerificationError` unless the sink received the artifact. */
export function requireDigest(sink: Sink, artifactId: string): void {
  if (sink.digest !== digestOf(artifactId)) {
    throw new VerificationError(`The SHA-256 of the received file is not ${digestOf(artifactId)}.`);
  }
}

/** Counts and hashes the bytes that it stores. */
export abstract class HashingSink implements Sink {
  size = 0;
  #hash = newDigest();

  get digest(): string {
    return this.#hash.hex();
  }

  async write(chunk: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.store(chunk);
    this.count(chunk);
  }

  async restart(): Promise<void> {
    await this.discard();
    this.#hash = newDigest();
    this.size = 0;
  }

  protected count(chunk: Uint8Array): void {
    this.#hash.update(chunk);
    this.size += chunk.length;
  }

  protected abstract store(chunk: Uint8Array<ArrayBuffer>): Promise<void>;
  protected abstract discard(): Promise<void>;
}
