/**
 * Transfers of files past the coordinator: to and from its store of files, with signed URLs, where the coordinator offers that.
 *
 * If anything prevents such a transfer, such as a store without a CORS rule for this page, the file goes through the coordinator.
 */

import { APIError, TransportError } from "../errors.js";
import type { ArtifactLink } from "../models.js";
import { newDigest } from "../verification/digest.js";
import type { OnProgress, Source } from "./files.js";
import type { Uploaded } from "./resumable.js";
import { backoffDelay, fetchJson, fetchRaw, open, part, pause, type Session } from "./transport.js";

const PATH = "/v1/direct-uploads";
/** Milliseconds for one part. Its URL is not valid for much longer. */
const PART_MS = 600_000;
const CHECK_MS = 1000;
/** Milliseconds that the coordinator may check a digest before it answers. */
const PATIENCE_MS = 30_000;

/** What is known of a coordinator's direct transfers; undefined before it was asked. */
interface Offer {
  uploads: boolean | undefined;
  downloads: boolean | undefined;
}

interface Part {
  number: number;
  offset: number;
  size: number;
  method: string;
  url: string;
  headers: Record<string, string>;
}

interface Plan {
  upload_id: string;
  parts: Part[];
  missing: number;
  artifact: { artifact_id: string } | null;
}

interface DirectOptions {
  onProgress?: OnProgress | undefined;
  signal?: AbortSignal | undefined;
}

const offers = new WeakMap<Session, Offer>();

async function offerOf(session: Session, signal: AbortSignal | undefined): Promise<Offer> {
  let offer = offers.get(session);
  if (offer === undefined) {
    offer = { uploads: undefined, downloads: undefined };
    offers.set(session, offer);
  }
  if (offer.uploads === undefined) {
    try {
      const { direct } = (await fetchRaw({ ...session, retries: 0 }, { path: PATH, signal })) as {
        direct?: boolean;
      };
      offer.uploads = direct === true;
    } catch (error) {
      signal?.throwIfAborted();
      // Coordinators before version 0.3 do not have the path. Without an answer, the transfer itself explains what is wrong.
      if (error instanceof APIError) offer.uploads = false;
    }
    offer.downloads ??= offer.uploads;
  }
  return offer;
}

/** Send a file to the store. Returns null, after any number of bytes, if the coordinator must receive it instead. */
export async function uploadDirectly(
  session: Session,
  { name, mediaType }: Source,
  content: Blob,
  options: DirectOptions,
): Promise<Uploaded | null> {
  const { signal } = options;
  const offer = await offerOf(session, signal);
  if (!offer.uploads) return null;
  const json = { size: content.size, media_type: mediaType, name: name || null, in_parts: true };
  let plan = (await fetchRaw(session, {
    method: "POST",
    path: PATH,
    json,
    repeatable: true,
    signal,
  })) as Plan;
  const path = `${PATH}/${part(plan.upload_id)}`;
  const sender = new Sender(session, content, options);
  for (let attempt = 0; plan.artifact === null; ) {
    const { parts, failed } = await sender.send(plan.parts);
    if (parts.length > 0) attempt = 0;
    if (failed && attempt >= session.retries) {
      offer.uploads = false;
      await open(session, { method: "DELETE", path, signal }).catch(() => undefined);
      return null;
    }
    if (failed) await pause(backoffDelay(attempt++), signal);
    else if (plan.parts.length === 0) await pause(CHECK_MS, signal);
    const call = {
      method: "POST" as const,
      path: `${path}/parts`,
      repeatable: true,
      patienceMs: PATIENCE_MS,
      signal,
    };
    plan = (await fetchRaw(session, { ...call, json: { parts, ...sender.digest() } })) as Plan;
  }
  return { artifactId: plan.artifact.artifact_id, size: content.size, sha256: sender.digest().sha256 ?? "" };
}

/** Sends parts of a file, and hashes it on the way. */
class Sender {
  readonly #hash = newDigest();
  #hashed = 0;
  #sha256: string | undefined;

  constructor(
    private readonly session: Session,
    private readonly content: Blob,
    private readonly options: DirectOptions,
  ) {}

  /** Return the digest once the whole file is read. */
  digest(): { sha256?: string } {
    if (this.#hashed < this.content.size) return {};
    this.#sha256 ??= this.#hash.hex();
    return { sha256: this.#sha256 };
  }

  /** Send parts until one fails. Returns those that the store has. */
  async send(
    parts: readonly Part[],
  ): Promise<{ parts: { number: number; etag: string }[]; failed: boolean }> {
    const sent: { number: number; etag: string }[] = [];
    for (const each of parts) {
      const etag = await this.#put(each);
      if (etag === null) return { parts: sent, failed: true };
      sent.push({ number: each.number, etag });
      this.options.onProgress?.(each.offset + each.size, this.content.size);
    }
    return { parts: sent, failed: false };
  }

  async #put({ offset, size, method, url, headers }: Part): Promise<string | null> {
    const { signal } = this.options;
    const body = new Uint8Array(await this.content.slice(offset, offset + size).arrayBuffer());
    if (offset === this.#hashed) {
      this.#hash.update(body);
      this.#hashed += body.length;
    }
    try {
      const limit = AbortSignal.timeout(PART_MS);
      const answer = await this.session.fetch(url, {
        method,
        headers,
        body,
        credentials: "omit",
        signal: signal === undefined ? limit : AbortSignal.any([signal, limit]),
      });
      await answer.arrayBuffer();
      // Browsers hide the ETag without a CORS rule that exposes it.
      return answer.ok ? answer.headers.get("etag") : null;
    } catch {
      signal?.throwIfAborted();
      return null;
    }
  }
}

/** Return a URL that leads to a file in the store without a key; undefined if the coordinator sends it itself. */
export async function addressInStore(
  session: Session,
  artifactId: string,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const offer = await offerOf(session, signal);
  if (!offer.downloads) return undefined;
  try {
    const path = `/v1/artifacts/${artifactId}/links`;
    const link = await fetchJson<ArtifactLink>(session, {
      method: "POST",
      path,
      json: {},
      repeatable: true,
      signal,
    });
    return `${session.baseUrl}${link.url}&redirect=true`;
  } catch (error) {
    if (error instanceof APIError) return undefined; // the download itself explains it
    throw error;
  }
}

/** Download through the coordinator from now on, if the store cannot be used. Returns whether that is a change. */
export function avoidStore(session: Session, error: unknown): boolean {
  const offer = offers.get(session);
  if (!offer?.downloads || !(error instanceof APIError || error instanceof TransportError)) return false;
  offer.downloads = false;
  return true;
}
