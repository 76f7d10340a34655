/** `client.artifacts`: files, identified by the SHA-256 of their content. */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { FormatError, VerificationError } from "../errors.js";
import { downloadBlob } from "../http/download.js";
import { downloadTo, type Target } from "../http/download_to.js";
import { type OnProgress, RESUMABLE, type Source, sourceOf, type Uploadable } from "../http/files.js";
import type { DownloadOptions } from "../http/receive.js";
import { type CallOptions, fetchJson, type Session } from "../http/transport.js";
import type { Artifact, ArtifactLink, ArtifactList } from "../models.js";
import { Calls, type OffsetOptions } from "./calls.js";

const ARTIFACT_ID = /^(?:artifact:)?(sha256:[0-9a-f]{64})$/;

/** Options of uploads. */
export interface UploadOptions extends CallOptions {
  /** Defaults to the file's own media type, or one derived from its name. */
  mediaType?: string | undefined;
  onProgress?: OnProgress | undefined;
}

/** Files: upload, download, read, link, delete. */
export class Artifacts extends Calls {
  /** Return a page of the account's files, newest first, with the jobs that use them; only those whose ids begin with `prefix`. */
  list(options: { prefix?: string | undefined } & OffsetOptions = {}): Promise<ArtifactList> {
    return this.read("/v1/artifacts", options);
  }

  /**
   * Store a file: a `File` or `Blob`, bytes, a stream, or in Node a path. It is never loaded into memory as a whole.
   *
   * The upload of a stream or a file of more than 8 MiB resumes after a lost connection. Throws `VerificationError` if the
   * coordinator stored other bytes, errors of reading the file, and the errors of every call.
   */
  async upload(content: Uploadable, options: UploadOptions = {}): Promise<Artifact> {
    return storeSource(this.session, await sourceOf(content, options.mediaType), options);
  }

  /**
   * Download an artifact into a file (in Node) or a stream, and check its digest.
   *
   * The download resumes after a lost connection. One into a file writes `<to>.part` first, and resumes such a file of an
   * interrupted download. Throws `VerificationError`, and leaves no file, if the digest differs.
   */
  async download(artifactId: string, to: Target, options: DownloadOptions = {}): Promise<void> {
    return downloadTo(this.session, identifier(artifactId), to, options);
  }

  /** Return an artifact as a `Blob` of its media type, and check its digest. Resumes after a lost connection. */
  async blob(artifactId: string, options: DownloadOptions = {}): Promise<Blob> {
    return downloadBlob(this.session, identifier(artifactId), options);
  }

  /** Return the bytes of a small artifact, and check its digest. */
  async get(artifactId: string, options: DownloadOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(await (await this.blob(artifactId, options)).arrayBuffer());
  }

  /**
   * Delete a file of the account: an upload or an output of its jobs. Results and receipts stay valid.
   *
   * Throws `Conflict` while an unfinished job needs it.
   */
  async delete(artifactId: string, options: CallOptions = {}): Promise<void> {
    await this.remove(`/v1/artifacts/${identifier(artifactId)}`, options);
  }

  /** Create a link that reads this artifact without a key, valid for an hour or for `seconds`. Its `url` is absolute. */
  async link(
    artifactId: string,
    options: { seconds?: number | undefined } & CallOptions = {},
  ): Promise<ArtifactLink> {
    const { signal, ...lifetime } = options;
    const path = `/v1/artifacts/${identifier(artifactId)}/links`;
    const link = await this.post<ArtifactLink>(path, lifetime, { repeatable: true, signal });
    return { ...link, url: this.session.baseUrl + link.url };
  }
}

/** Return the address of an artifact for use in a job's input. */
export function artifactAddress(artifact: { artifactId: string }): string {
  return `artifact:${artifact.artifactId}`;
}

/** Store a file. */
export async function storeSource(
  session: Session,
  source: Source,
  options: UploadOptions,
): Promise<Artifact> {
  if (source.content instanceof Blob && source.content.size <= RESUMABLE) {
    return storeAtOnce(session, source, source.content, options);
  }
  // Loaded on demand, because few pages upload large files.
  const { uploadDirectly } = await import("../http/direct.js");
  const { uploadResumably } = await import("../http/resumable.js");
  const uploaded =
    source.content instanceof Blob ? await uploadDirectly(session, source, source.content, options) : null;
  const { artifactId, size, sha256 } = uploaded ?? (await uploadResumably(session, source, options));
  requireSame(artifactId, sha256);
  return { artifactId, size, mediaType: source.mediaType };
}

async function storeAtOnce(
  session: Session,
  source: Source,
  content: Blob,
  options: UploadOptions,
): Promise<Artifact> {
  const body = new Uint8Array(await content.arrayBuffer());
  options.onProgress?.(0, body.length);
  const artifact = await fetchJson<Artifact>(session, {
    method: "POST",
    path: "/v1/artifacts",
    query: { name: source.name || undefined },
    headers: { "Content-Type": source.mediaType },
    body,
    repeatable: true,
    signal: options.signal,
  });
  requireSame(artifact.artifactId, bytesToHex(sha256(body)));
  options.onProgress?.(body.length, body.length);
  return artifact;
}

function requireSame(artifactId: string, sent: string): void {
  if (artifactId !== `sha256:${sent}`) {
    throw new VerificationError(
      `The coordinator stored ${artifactId || "no artifact"}, but sha256:${sent} was sent: the file was damaged on its way. Upload it again.`,
    );
  }
}

function identifier(artifactId: string): string {
  const found = ARTIFACT_ID.exec(artifactId)?.[1];
  if (found === undefined) {
    throw new FormatError(`${JSON.stringify(artifactId)} is not an artifact id (sha256: and 64 hex digits).`);
  }
  return found;
}
