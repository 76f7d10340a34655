/** Opens what a coordinator returns about sealed jobs: results, events, logs and output files. */

import { collected, piecesOf } from "../bytes.js";
import { FormatError, VerificationError } from "../errors.js";
import { downloadBlob } from "../http/download.js";
import { requireSealed } from "../http/events.js";
import { getJob, getResults } from "../http/jobs.js";
import type { DownloadOptions } from "../http/receive.js";
import type { Session } from "../http/transport.js";
import type { JobEvent, JobLog, JobResults, Opening } from "../models.js";
import { decodeBase64, encodeBase64 } from "../verification/canonical.js";
import { newDigest } from "../verification/digest.js";
import { openEnvelope } from "../verification/dsse.js";
import { minerId as idOf } from "../verification/keys.js";
import { outputFiles } from "../verification/outputs.js";
import type { Json, JsonObject } from "../verification/shape.js";
import { PAYLOAD_TYPE, parseStatement } from "../verification/statement.js";
import { text } from "../verification/strict.js";
import { AnswerOpener, requirePlain } from "./answer.js";
import type { SealedRequest } from "./memory.js";

/** The source of the lines of a sealed log. */
const SEALED_SOURCE = "sealed";

/** A sealed job that is read. `own` is what this client remembers to have sealed as this job. */
export interface SealedJob {
  session: Session;
  jobId: string;
  own: SealedRequest | undefined;
  signal?: AbortSignal | undefined;
}

/** Which request a job answers: as this client remembers it, or as the coordinator says, if it remembers none. */
interface Opener {
  answer: AnswerOpener;
  opening: Opening;
}

/** Return the opener of a sealed job's answers. Throws `VerificationError` if it was sealed with another key. */
async function openerOf(job: SealedJob): Promise<Opener> {
  const { session, jobId, own } = job;
  const request = own ?? (await described(job));
  const replyKey = await session.replyKey();
  if (request.replyKey !== encodeBase64(replyKey.publicKey)) {
    throw new VerificationError(
      `Job ${jobId} was sealed with another key. Only the program or browser that sealed it can open its answer.`,
    );
  }
  const { minerId, requestId } = request;
  const answer = await AnswerOpener.of(replyKey, { jobId, minerId, requestId });
  const caution =
    `This client has no memory of sealing job ${jobId}. Its answer was opened as the coordinator describes the job, so it ` +
    "may be that of another miner, or to another request.";
  return { answer, opening: own ? { opened: true } : { opened: false, caution } };
}

async function described({ session, jobId, signal }: SealedJob): Promise<SealedRequest> {
  const { sealed, minerId } = await getJob(session, jobId, { signal });
  if (!sealed || !minerId) throw new FormatError(`Job ${jobId} is not sealed, or has not run yet.`);
  const { requestId, replyKey } = sealed;
  // A client that was stopped before it knew the job remembers the miner of its request.
  return (await (await session.memory()).get(requestId)) ?? { minerId, requestId, replyKey };
}

/** Open the results of a sealed job, or with `opened` false only verify that they open. */
export async function openResults(job: SealedJob, answer: JobResults, opened = true): Promise<JobResults> {
  const { jobId } = job;
  const opener = await openerOf(job);
  const { results } = await opener.answer.results(answer.results as Json);
  return opened ? { ...answer, jobId, results, ...opener.opening } : { ...answer, jobId, opened: false };
}

/** Open sealed events of one job, and drop those that are repeated. */
export class EventOpener {
  #opener: Promise<Opener> | undefined;

  constructor(private readonly job: SealedJob) {}

  /** Return the event for the caller, undefined for a repeated one. Throws for content that the miner of a job that this client sealed has not sealed. */
  async open(event: JobEvent): Promise<JobEvent | undefined> {
    if (event.kind === "sealed") {
      this.#opener ??= openerOf(this.job);
      const { answer, opening } = await this.#opener;
      const opened = await answer.event(event.data);
      return opened && { ...event, ...opened, ...(opening.opened && { opened: true }) };
    }
    if (event.kind === "resync") (await this.#opener)?.answer.restart();
    if (this.job.own && event.job === undefined) requireSealed(event.kind, event.data);
    return event;
  }
}

/** Open the log of a sealed job: the lines of each of its runs, and why a run failed. */
export async function openLog(job: SealedJob, log: JobLog): Promise<JobLog> {
  const { jobId, own } = job;
  const sealed = log.entries.filter(({ source }) => source === SEALED_SOURCE);
  if (own && sealed.length < log.entries.length) {
    throw new VerificationError(
      `The coordinator returned lines in clear in the log of job ${jobId}, which was sealed. Do not trust them.`,
    );
  }
  const opener = await openerOf(job);
  const entries = log.entries.filter(({ source }) => source !== SEALED_SOURCE);
  let { truncated } = log;
  for (const attempt of new Set(sealed.map(({ attempt }) => attempt))) {
    const lines = sealed.filter((line) => line.attempt === attempt);
    const opened = await opener.answer.log(lines.map(({ text }) => text).join(""));
    truncated ||= opened.truncated;
    for (const { time, source, text } of opened.entries) {
      entries.push({ time: new Date(time * 1000).toISOString(), attempt, source, text });
    }
    if (opened.failure) {
      const { code, message } = opened.failure;
      entries.push({ time: lines[0]?.time ?? "", attempt, source: "failure", text: `${message} (${code})` });
    }
  }
  return { ...log, jobId, entries, truncated, ...opener.opening };
}

/** Throw `VerificationError` unless the receipt of a job that this client sealed is about its request, and about the `results`. */
export async function requireReceipt(job: SealedJob, receipt: JsonObject, results?: Json): Promise<void> {
  const { answer } = await openerOf(job);
  const { public_key: key } = (receipt.signature ?? {}) as JsonObject;
  const identity = decodeBase64(text(key, "The receipt's public_key"));
  const statement = parseStatement(openEnvelope(receipt.envelope, identity, PAYLOAD_TYPE));
  const wrong = await answer.errorsOf(statement, results);
  if (idOf(identity) !== statement.minerId) wrong.push("another miner signed it");
  if (wrong.length === 0) return;
  throw new VerificationError(
    `The receipt of job ${job.jobId} is not about what was sealed: ${wrong.join("; ")}.`,
  );
}

/** Download an output file of a sealed job, opened and checked, as a blob of its media type. */
export async function openBlob(
  session: Session,
  jobId: string,
  artifactId: string,
  options: DownloadOptions,
): Promise<Blob> {
  const file = await sealedFile(session, jobId, artifactId, options.signal);
  const sealed = await downloadBlob(session, artifactId, options);
  const pieces = await collected(file.open(piecesOf(sealed.stream())));
  return new Blob(pieces, { type: file.mediaType });
}

/** An output file of a sealed job. */
export interface SealedFile {
  mediaType: string;
  /** Open the file, piece by piece. Throws `VerificationError` at its end unless it is the one in the results. */
  open(sealed: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array<ArrayBuffer>>;
}

/** Return the opener of an output file. */
export async function sealedFile(
  session: Session,
  jobId: string,
  artifactId: string,
  signal: AbortSignal | undefined,
): Promise<SealedFile> {
  const { results } = await getResults(session, jobId, { signal });
  const own = await (await session.memory()).get(jobId);
  const { answer: opener } = await openerOf({ session, jobId, own, signal });
  const opened = await opener.results(results as Json);
  const number = outputFiles(results as Json).findIndex((file) => file.artifactId === artifactId);
  const described = opened.files[number];
  if (described === undefined) throw new FormatError(`Job ${jobId} has no output file ${artifactId}.`);
  const named = outputFiles(opened.results).find((file) => file.artifactId === artifactId);
  return {
    mediaType: named?.mediaType ?? "",
    async *open(sealed) {
      const digest = newDigest();
      let size = 0;
      for await (const piece of opener.file(results as Json, number, sealed)) {
        digest.update(piece);
        size += piece.length;
        yield piece;
      }
      requirePlain(described, { size, sha256: digest.hex() });
    },
  };
}
