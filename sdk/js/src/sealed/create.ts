/** Creates sealed jobs: uploads sealed files, and submits the sealed parameters with what the coordinator must know. */

import { collected, piecesOf } from "../bytes.js";
import { storeSource } from "../calls/artifacts.js";
import { FormatError } from "../errors.js";
import {
  iterable,
  type OnProgress,
  RESUMABLE,
  type Source,
  sourceOf,
  type Uploadable,
} from "../http/files.js";
import { type CreateOptions, creation } from "../http/jobs.js";
import { type CallOptions, fetchJson, part, type Session } from "../http/transport.js";
import type { CreatedJob, JobResults, OfferList } from "../models.js";
import { encodeBase64 } from "../verification/canonical.js";
import { sealedSize, sealFile } from "./files.js";
import { type EncryptionKey, type EncryptionKeyAnswer, verifyEncryptionKey } from "./keys.js";
import { rememberJob } from "./memory.js";
import { openResults } from "./reading.js";
import { RequestSealer, type SealedInput } from "./request.js";
import { MEDIA_TYPE } from "./suite.js";

/** The options of a job, by the API's names, which stay in clear. All other fields are the service's input. */
const IN_CLEAR: ReadonlySet<string> = new Set([
  ...["type", "name", "labels", "resources", "pricing", "priority", "timeout_seconds", "max_attempts"],
  ...["miner_id", "offer_id", "webhook_url", "wait", "audited", "min_reputation"],
]);
const ADDRESS = /^(?:https?:\/\/|artifact:)/;
const ARCHIVE = /\.(?:zip|tar|tar\.gz|tgz)$/i;
const OFFERS = 1000;

/** A new sealed job: its body with the API's names, and its files by the dotted path of their field. */
export interface NewSealedJob {
  type: string;
  body: Record<string, unknown>;
  files: Record<string, Uploadable>;
}

/** Options of creating a sealed job. */
export interface SealOptions extends CreateOptions {
  waitSeconds?: number | undefined;
  /** Called with the bytes of a field's file that were uploaded, and its total bytes. */
  onProgress?: ((field: string, ...progress: Parameters<OnProgress>) => void) | undefined;
}

/** Return a miner's key for sealed jobs, verified. Throws `NotFound` if the miner accepts none. */
export async function encryptionKey(
  session: Session,
  minerId: string,
  { signal }: CallOptions,
): Promise<EncryptionKey> {
  const path = `/v1/miners/${part(minerId)}/encryption-key`;
  return verifyEncryptionKey(await fetchJson<EncryptionKeyAnswer>(session, { path, signal }), minerId);
}

/** Seal a job to its miner and create it. Throws `FormatError` without a miner, or for files that only have an address. */
export async function createSealed(
  session: Session,
  { type, ...given }: NewSealedJob,
  options: SealOptions,
): Promise<CreatedJob> {
  const { signal } = options;
  const service = type.replaceAll("-", "_");
  const entries = Object.entries(given.body).filter(([, value]) => value !== undefined);
  const clear = Object.fromEntries(entries.filter(([name]) => IN_CLEAR.has(name)));
  const input = Object.fromEntries(entries.filter(([name]) => !IN_CLEAR.has(name)));
  const parameters = parametersOf(service, input);
  const sources = await Promise.all(
    Object.entries(given.files).map(async ([name, content]) => {
      requireContent(name, content);
      return [pathOf(service, parameters, name), await sourceOf(content)] as const;
    }),
  );
  const [replyKey, miner] = [await session.replyKey(), await minerOf(session, clear, options)];
  const key = await encryptionKey(session, miner, options);
  const { model } = parameters;
  const sealer = await RequestSealer.of(key, replyKey, {
    service,
    model: typeof model === "string" ? model : null,
    adapters: adaptersIn(parameters),
  });
  const sealed: SealedInput[] = [];
  for (const [field, source] of sources) {
    const input = await upload(session, sealer, field, source, sealed.length, options);
    assign(parameters, field.split("."), `artifact:${input.artifactId}`);
    sealed.push(input);
  }
  const body = {
    ...clear,
    type,
    miner_id: clear.offer_id === undefined ? miner : undefined,
    sealed: await sealer.seal(parameters, sealed),
  };
  const { requestId } = sealer;
  const request = { minerId: miner, requestId, replyKey: encodeBase64(replyKey.publicKey) };
  const memory = await session.memory();
  await memory.add(requestId, request); // before the coordinator gets it
  const created = await fetchJson<CreatedJob>(session, creation("/v1/jobs", body, options));
  const { jobId, status, results } = created;
  await rememberJob(memory, jobId, request);
  if (!results) return created;
  const job = { session, jobId, own: request, signal };
  const answer = await openResults(job, { jobId, status, results } as JobResults);
  return { ...created, results: answer.results };
}

/** The whole input of a service. A Python model's is in several fields, that of others in `parameters` or in the body. */
function parametersOf(service: string, given: Record<string, unknown>): Record<string, unknown> {
  const { parameters, ...fields } = given;
  if (service === "ai_inference") return structuredClone(given);
  return structuredClone({ ...(parameters as object | undefined), ...fields });
}

/** The field of a file. The files of a Python model have names: its program, an archive of it, or its input. */
function pathOf(service: string, parameters: Record<string, unknown>, name: string): string {
  if (service !== "ai_inference" || name.includes("source")) return name;
  const { entrypoint } = (parameters.model ?? {}) as { entrypoint?: unknown };
  return name === entrypoint || ARCHIVE.test(name) ? "model.source" : "input.source";
}

function requireContent(name: string, content: Uploadable): void {
  if (typeof content !== "string" || !ADDRESS.test(content)) return;
  throw new FormatError(
    `${name} is an address, which a sealed job must not have: fetching it would reveal the input. Pass the file itself.`,
  );
}

async function minerOf(
  session: Session,
  { miner_id: minerId, offer_id: offerId }: Record<string, unknown>,
  { signal }: CallOptions,
): Promise<string> {
  if (typeof minerId === "string") return minerId;
  if (typeof offerId === "string") {
    const call = { path: "/v1/marketplace/offers", query: { limit: OFFERS }, signal };
    const { offers } = await fetchJson<OfferList>(session, call);
    const offer = offers.find((offer) => offer.offerId === offerId);
    if (offer !== undefined) return offer.minerId;
  }
  throw new FormatError(
    "A sealed job needs the miner to whose key it is sealed: give minerId, or the offerId of an active offer.",
  );
}

/** Return the names of the LoRAs and the ControlNet that image parameters use, which stay in clear. */
function adaptersIn({ loras, control }: Record<string, unknown>): string[] {
  const used = [...(Array.isArray(loras) ? loras : []), ...(control ? [control] : [])];
  return used.map(({ name }) => String(name));
}

async function upload(
  session: Session,
  sealer: RequestSealer,
  field: string,
  source: Source,
  number: number,
  options: SealOptions,
): Promise<SealedInput> {
  let size = 0;
  const { content } = source;
  const plain = content instanceof Blob ? piecesOf(content.stream()) : iterable(content);
  const sealed = sealFile(await sealer.fileKey(number), plain, (piece) => {
    size += piece.length;
  });
  const total = content instanceof Blob ? sealedSize(content.size) : undefined;
  const { artifactId } = await storeSource(
    session,
    { name: "", mediaType: MEDIA_TYPE, content: await uploadable(sealed, total) },
    {
      signal: options.signal,
      onProgress: (done, known) => options.onProgress?.(field, done, known ?? total),
    },
  );
  return { field, artifactId, size, mediaType: source.mediaType, name: source.name };
}

/** Small files are sent in one request, others as a stream. */
async function uploadable(
  sealed: AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined>,
  total: number | undefined,
): Promise<Source["content"]> {
  if (total === undefined || total > RESUMABLE) return sealed;
  return new Blob(await collected(sealed));
}

function assign(target: Record<string, unknown>, [name = "", ...rest]: string[], value: string): void {
  if (rest.length === 0) {
    target[name] = value;
    return;
  }
  const inner = (target[name] ?? {}) as Record<string, unknown>;
  target[name] = inner;
  assign(inner, rest, value);
}
