/** Downloads into a file or a stream. Pages link to files instead, so that the browser downloads them itself. */

import { TransportError } from "../errors.js";
import { NO_PATHS } from "./platform.js";
import { type DownloadOptions, HashingSink, receive, requireDigest } from "./receive.js";
import type { Session } from "./transport.js";

/** The target of a download: a file path (in Node) or a stream. */
export type Target = string | WritableStream<Uint8Array>;

/** Download an artifact into a file or a stream. */
export async function downloadTo(
  session: Session,
  artifactId: string,
  target: Target,
  options: DownloadOptions,
): Promise<void> {
  if (typeof target === "string") {
    // A bundler that defines `globalThis.process` as undefined leaves out the code for files.
    if (globalThis.process === undefined) throw new TypeError(NO_PATHS);
    const { downloadFile } = await import("./file_download.js");
    return downloadFile(session, artifactId, target, options);
  }
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
