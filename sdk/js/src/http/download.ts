/** Downloads into memory that resume after a lost connection and are checked against their digest. */

import { type DownloadOptions, HashingSink, receive, requireDigest } from "./receive.js";
import type { Session } from "./transport.js";

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

class MemorySink extends HashingSink {
  pieces: Uint8Array<ArrayBuffer>[] = [];

  protected async store(chunk: Uint8Array<ArrayBuffer>): Promise<void> {
    this.pieces.push(chunk);
  }

  protected async discard(): Promise<void> {
    this.pieces = [];
  }
}
