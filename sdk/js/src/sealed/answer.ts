/** Sealed answers: opens the results, events, log and output files of a job that was sealed with the client's key. */

import { hexToBytes } from "@noble/hashes/utils.js";
import { FormatError, VerificationError } from "../errors.js";
import { canonicalJson, decodeBase64, parseJson, sha256Hex } from "../verification/canonical.js";
import type { Json, JsonObject } from "../verification/shape.js";
import type { Statement } from "../verification/statement.js";
import { HEX_SHA256 } from "../verification/strict.js";
import { openFile } from "./files.js";
import type { ReplyKey } from "./keys.js";
import { decrypt, deriveKey, openCapsule, salted, saltedDigest, unpadded, VERSION } from "./suite.js";

const ANSWER_TYPE = "https://aitbc.bubuit.net/sealed-answer/v1";
const REQUEST_ID = /^[0-9a-f]{32}$/;

/** Which job answers which request, as its client knows it. */
export interface JobOfRequest {
  jobId: string;
  minerId: string;
  requestId: string;
}

/** The plaintext of a sealed output file: its size in bytes and its SHA-256. */
export interface PlainFile {
  size: number;
  sha256: string;
}

/** A run's results as the miner sealed them. */
export interface OpenedResults {
  results: JsonObject;
  /** The output files' plaintexts, in the order of the sealed files. */
  files: PlainFile[];
  fence: string;
  specDigest: string;
  /** The salted digest that the signed statement has of these results. */
  digest: string;
}

/** What a sealed log contains. `failure` is the real reason of a failed run. */
export interface OpenedLog {
  failure: { code: string; message: string } | null;
  /** `time` is in seconds since the epoch. */
  entries: { time: number; source: string; text: string }[];
  truncated: boolean;
}

interface Header {
  fence: string;
  specDigest: string;
  capsule: string;
  ciphertext: string;
}

/** Opens the answers to one job's request. Every method throws `VerificationError` for what the job's miner did not seal. */
export class AnswerOpener {
  readonly #answers = new Map<string, Promise<Uint8Array>>();
  readonly #last = new Map<string, number>();
  #fence = 0;

  private constructor(
    private readonly replyKey: ReplyKey,
    private readonly job: JobOfRequest,
    private readonly secret: Uint8Array,
  ) {}

  static async of(replyKey: ReplyKey, job: JobOfRequest): Promise<AnswerOpener> {
    if (!REQUEST_ID.test(job.requestId)) throw new FormatError("The request's id is malformed.");
    return new AnswerOpener(replyKey, job, await replyKey.requestSecret(hexToBytes(job.requestId)));
  }

  /** Open a job's results. */
  async results(results: Json): Promise<OpenedResults> {
    const header = headerOf(sealedPart(results));
    const plaintext = await decrypt(await this.#key(header, "results"), decodeBase64(header.ciphertext));
    const content = unpadded(plaintext);
    const { results: inner, files = [] } = content;
    if (!isObject(inner) || !Array.isArray(files)) throw new FormatError("The sealed results lack a field.");
    return {
      results: inner,
      files: files.map(plainFile),
      fence: header.fence,
      specDigest: header.specDigest,
      digest: await salted(this.secret, "results", plaintext),
    };
  }

  /**
   * Open an event: return its kind and data, or undefined for one that came before, or that is of an earlier run. The miner
   * numbers them so that they cannot be repeated or moved.
   */
  async event(data: JsonObject): Promise<{ kind: string; data: JsonObject } | undefined> {
    const { n } = data;
    if (typeof n !== "number" || !Number.isInteger(n) || n < 0) {
      throw new FormatError("A sealed event has no number.");
    }
    const header = headerOf(data);
    const nonce = new Uint8Array(12);
    new DataView(nonce.buffer).setBigUint64(4, BigInt(n));
    const key = await this.#key(header, "events");
    const { kind, data: value } = unpadded(await decrypt(key, decodeBase64(header.ciphertext), nonce));
    if (typeof kind !== "string" || !isObject(value)) throw new FormatError("A sealed event lacks a field.");
    const fence = Number(header.fence);
    if (fence < this.#fence || n <= (this.#last.get(header.capsule) ?? -1)) return undefined;
    this.#fence = fence;
    this.#last.set(header.capsule, n);
    return { kind, data: value };
  }

  /** Accept events from the first one again, because the coordinator repeats them. */
  restart(): void {
    this.#last.clear();
  }

  /** Open the joined texts of a job's sealed log. */
  async log(text: string): Promise<OpenedLog> {
    const header = headerOf(parseJson(text));
    const key = await this.#key(header, "log");
    return unpadded(await decrypt(key, decodeBase64(header.ciphertext))) as unknown as OpenedLog;
  }

  /** Return what a statement says otherwise than this client knows: the job, miner and request, and the content of `results`. */
  async errorsOf(statement: Statement, results?: Json): Promise<string[]> {
    const { jobId, minerId, requestId } = this.job;
    const { sealed } = statement;
    const wrong: string[] = [];
    if (statement.jobId !== jobId || statement.minerId !== minerId) {
      wrong.push(`it is of ${statement.minerId} for ${statement.jobId}, not of ${minerId} for ${jobId}`);
    }
    if (sealed?.requestId !== requestId) wrong.push(`it does not answer the request ${requestId}`);
    if (results === undefined || wrong.length > 0) return wrong;
    const opened = await this.results(results);
    const signed = statement.subject[0]?.sha256;
    if (opened.digest !== sealed?.digests.results || sha256Hex(canonicalJson(results)) !== signed) {
      wrong.push("the results are not those that it signs");
    }
    if (opened.fence !== statement.fence || opened.specDigest !== statement.specDigest) {
      wrong.push("the results are those of another run");
    }
    return wrong;
  }

  /** Open output file `number` of a job's results, piece by piece. */
  async *file(
    results: Json,
    number: number,
    content: AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
    const key = await this.#key(headerOf(sealedPart(results)), `output:${number}`);
    yield* openFile(key, content);
  }

  /** Return the salted digest of a plaintext that the signed statement has under this label, such as `output:0`. */
  async digest(label: string, content: AsyncIterable<Uint8Array>): Promise<string> {
    const digest = await saltedDigest(this.secret, label);
    for await (const piece of content) digest.update(piece);
    return digest.hex();
  }

  async #key(header: Header, label: string): Promise<CryptoKey> {
    return deriveKey(await this.#answer(header), label, this.secret);
  }

  /** Return the secret in a capsule. All parts of a run have the same one. */
  #answer({ fence, specDigest, capsule }: Header): Promise<Uint8Array> {
    const name = `${capsule} ${fence} ${specDigest}`;
    const known = this.#answers.get(name);
    if (known !== undefined) return known;
    const { jobId, minerId, requestId } = this.job;
    const bound = { job_id: jobId, miner_id: minerId, request_id: requestId, fence, spec_digest: specDigest };
    const opened = openCapsule(this.replyKey.pair, { type: ANSWER_TYPE, ...bound }, decodeBase64(capsule));
    this.#answers.set(name, opened);
    return opened;
  }
}

/** Return the sealed part of results. Throws `FormatError` for results that are not sealed. */
export function sealedPart(results: Json): Json {
  const part = isObject(results) ? results.sealed : undefined;
  if (!isObject(part)) {
    throw new FormatError("The job's answer is not sealed, though its request was. Do not trust it.");
  }
  return part;
}

function headerOf(part: Json): Header {
  const { version, fence, spec_digest: specDigest, capsule, ciphertext } = isObject(part) ? part : {};
  const texts = [fence, specDigest, capsule, ciphertext];
  if (version !== VERSION || texts.some((value) => typeof value !== "string")) {
    throw new FormatError("A sealed part has no valid header.");
  }
  return { fence, specDigest, capsule, ciphertext } as Header;
}

function plainFile(value: Json, index: number): PlainFile {
  const { index: number, size, sha256 } = isObject(value) ? value : {};
  const isFile = number === index && typeof size === "number" && typeof sha256 === "string";
  if (!isFile || !HEX_SHA256.test(sha256)) throw new FormatError("The list of sealed files is malformed.");
  return { size, sha256 };
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Throw `VerificationError` unless a file is the one that the miner sealed. */
export function requirePlain({ size, sha256 }: PlainFile, found: PlainFile): void {
  if (found.size !== size || found.sha256 !== sha256) {
    throw new VerificationError("An opened file is not the one that the sealed results describe.");
  }
}
