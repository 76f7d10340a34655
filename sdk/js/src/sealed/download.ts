/** Downloads output files of sealed jobs into files and streams, opened and checked. */

import { piecesOf } from "../bytes.js";
import { downloadTo, type Target } from "../http/download_to.js";
import { NO_PATHS, nodeModule } from "../http/platform.js";
import type { DownloadOptions } from "../http/receive.js";
import type { Session } from "../http/transport.js";
import { sealedFile } from "./reading.js";

/** Download an output file of a sealed job into a file (in Node) or a stream, opened and checked. */
export async function openTo(
  session: Session,
  jobId: string,
  artifactId: string,
  target: Target,
  options: DownloadOptions,
): Promise<void> {
  const file = await sealedFile(session, jobId, artifactId, options.signal);
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const sink = typeof target === "string" ? await fileSink(target) : streamSink(target);
  const write = async () => {
    for await (const piece of file.open(piecesOf(readable))) await sink.write(piece);
  };
  try {
    await Promise.all([downloadTo(session, artifactId, writable, options), write()]);
  } catch (error) {
    await sink.abort(error);
    throw error;
  }
  await sink.finish();
}

interface Sink {
  write(piece: Uint8Array): Promise<unknown>;
  finish(): Promise<void>;
  abort(reason: unknown): Promise<void>;
}

function streamSink(stream: WritableStream<Uint8Array>): Sink {
  const writer = stream.getWriter();
  return {
    write: (piece) => writer.write(piece),
    finish: () => writer.close(),
    // The caller throws the reason; aborting a stream that has failed is an error of its own.
    abort: (reason) => writer.abort(reason).catch(() => undefined),
  };
}

async function fileSink(path: string): Promise<Sink> {
  // A bundler that defines `globalThis.process` as undefined leaves out the code for files.
  if (globalThis.process === undefined) throw new TypeError(NO_PATHS);
  const fs = await nodeModule<typeof import("node:fs/promises")>("node:fs/promises");
  const file = await fs.open(`${path}.part`, "w");
  return {
    write: (piece) => file.write(piece),
    finish: async () => {
      await file.close();
      await fs.rename(`${path}.part`, path);
    },
    abort: async () => {
      await file.close();
      await fs.rm(`${path}.part`, { force: true });
    },
  };
}
