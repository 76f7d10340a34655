/** Downloads that resume after a lost connection and are checked against their digest. */

import { APIError, TransportError, VerificationError } from "../errors.js";
import { newDigest } from "../verification/digest.js";
import type { OnProgress } from "./files.js";
import { nodeModule } from "./platform.js";
import { type Call, type CallOptions, open, type Session, waitToRetry } from "./transport.js";

/** The target of a download: a file path (in Node) or a stream. */
export type Target = string | WritableStream<Uint8Array>;

/** Options of downloads. */
export interface DownloadOptions extends CallOptions {
  onProgress?: OnProgress | undefined;
}

const PARTIAL = 206;
const RANGE_NOT_SATISFIABLE = 416;
const CHUNK = 256 * 1024;

/** Receives the bytes of a download in order. `size` is the number of bytes so far. */
interface Sink {
  readonly size: number;
  readonly digest: string;
  write(chunk: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Discard all received bytes. */
  restart(): Promise<void>;
}

/** Download an artifact into memory. */
export async function downloadBlob(
  session: Session,
  artifactId: string,
  options: DownloadOptions,
): Promise<Blob> {
  const sink = new MemorySink();
  const mediaType = await receive(session, artifactId, sink, options);
  requireDigest(sink, artifactId);
  return new Blob(sink.pieces, { type: mediaType });
}

/** Download an artifact into a file or a stream. */
export async function downloadTo(
  session: Session,
  artifactId: string,
  target: Target,
  options: DownloadOptions,
): Promise<void> {
  if (typeof target === "string") return downloadFile(session, artifactId, target, options);
  const sink = new StreamSink(target);
  try {
    await receive(session, artifactId, sink, options);
    requireDigest(sink, artifactId);
  } catch (error) {
    await sink.abort(error);
    throw error;
  }
  await sink.finish();
}

async function downloadFile(
  session: Session,
  artifactId: string,
  path: string,
  options: DownloadOptions,
): Promise<void> {
  const sink = await FileSink.open(path);
  try {
    const resumed = sink.size > 0;
    await receive(session, artifactId, sink, options);
    if (resumed && sink.digest !== digestOf(artifactId)) {
      // The partial file of an earlier download was not the beginning of this file.
      await sink.restart();
      await receive(session, artifactId, sink, options);
    }
    if (sink.digest !== digestOf(artifactId)) await sink.restart();
    requireDigest(sink, artifactId);
    await sink.finish();
  } finally {
    await sink.close();
  }
}

/** Receive the content from the sink's position on. Returns its media type. */
async function receive(
  session: Session,
  artifactId: string,
  sink: Sink,
  options: DownloadOptions,
): Promise<string> {
  for (let attempt = 0; ; attempt++) {
    if (sink.size > 0 && sink.digest === digestOf(artifactId)) return "";
    const start = sink.size;
    const call = callOf(artifactId, start, options.signal);
    try {
      return await receiveOnce(session, call, sink, options);
    } catch (error) {
      const isBeyondEnd = error instanceof APIError && error.status === RANGE_NOT_SATISFIABLE && start > 0;
      if (sink.size > start) attempt = 0;
      // A partial file that is too long is not the beginning of this file.
      if (isBeyondEnd) await sink.restart();
      else await waitToRetry(session, call, error, attempt);
    }
  }
}

function callOf(artifactId: string, start: number, signal: AbortSignal | undefined): Call {
  return {
    path: `/v1/artifacts/${artifactId}`,
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

function digestOf(artifactId: string): string {
  return artifactId.slice("sha256:".length);
}

function requireDigest(sink: Sink, artifactId: string): void {
  if (sink.digest !== digestOf(artifactId)) {
    throw new VerificationError(`The SHA-256 of the received file is not ${digestOf(artifactId)}.`);
  }
}

/** Counts and hashes the bytes that it stores. */
abstract class HashingSink implements Sink {
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

class MemorySink extends HashingSink {
  pieces: Uint8Array<ArrayBuffer>[] = [];

  protected async store(chunk: Uint8Array<ArrayBuffer>): Promise<void> {
    this.pieces.push(chunk);
  }

  protected async discard(): Promise<void> {
    this.pieces = [];
  }
}

class StreamSink extends HashingSink {
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;

  constructor(stream: WritableStream<Uint8Array>) {
    super();
    this.#writer = stream.getWriter();
  }

  async finish(): Promise<void> {
    await this.#writer.close();
  }

  async abort(reason: unknown): Promise<void> {
    // The caller throws the reason; aborting a stream that has failed is an error of its own.
    await this.#writer.abort(reason).catch(() => undefined);
  }

  protected async store(chunk: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.#writer.write(chunk);
  }

  protected async discard(): Promise<void> {
    throw new TransportError(
      "The download cannot resume, and the bytes already written to the stream cannot be undone.",
    );
  }
}

type FileSystem = typeof import("node:fs/promises");
type FileHandle = Awaited<ReturnType<FileSystem["open"]>>;

/** Writes to `<path>.part`, resumes an earlier download, and renames the complete file. */
class FileSink extends HashingSink {
  private constructor(
    private readonly fs: FileSystem,
    private readonly path: string,
    private readonly file: FileHandle,
  ) {
    super();
  }

  static async open(path: string): Promise<FileSink> {
    const fs = await nodeModule<FileSystem>("node:fs/promises");
    const sink = new FileSink(fs, path, await fs.open(`${path}.part`, "a+"));
    const buffer = new Uint8Array(CHUNK);
    for (;;) {
      const { bytesRead } = await sink.file.read(buffer, 0, CHUNK, sink.size);
      if (bytesRead === 0) return sink;
      sink.count(buffer.subarray(0, bytesRead));
    }
  }

  async finish(): Promise<void> {
    await this.fs.rename(`${this.path}.part`, this.path);
  }

  /** Leave the partial file for a later download to resume, unless it is empty. */
  async close(): Promise<void> {
    await this.file.close();
    if (this.size === 0) await this.fs.rm(`${this.path}.part`, { force: true });
  }

  protected async store(chunk: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.file.write(chunk);
  }

  protected async discard(): Promise<void> {
    await this.file.truncate(0);
  }
}
