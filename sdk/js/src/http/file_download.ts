/** Downloads into files, which only Node can write. */

import { nodeModule } from "./platform.js";
import { type DownloadOptions, digestOf, HashingSink, receive, requireDigest } from "./receive.js";
import type { Session } from "./transport.js";

const CHUNK = 256 * 1024;

/** Download an artifact into a file. */
export async function downloadFile(
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
