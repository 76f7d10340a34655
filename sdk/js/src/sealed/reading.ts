/** Opens what a coordinator returns about sealed jobs: results, events, logs and output files. */

import { FormatError, VerificationError } from "../errors.js";
import { downloadBlob } from "../http/download.js";
import { getJob, getResults } from "../http/jobs.js";
import type { DownloadOptions } from "../http/receive.js";
import type { Session } from "../http/transport.js";
import type { JobEvent, JobLog, JobResults } from "../models.js";
import { encodeBase64 } from "../verification/canonical.js";
import { newDigest } from "../verification/digest.js";
import { outputFiles } from "../verification/outputs.js";
import type { Json } from "../verification/shape.js";
import { AnswerOpener, requirePlain } from "./answer.js";
import { streamOf } from "./files.js";

/** The source of the lines of a sealed log. */
const SEALED_SOURCE = "sealed";

/** Return the opener of a sealed job's answers. Throws `VerificationError` if it was sealed with another key. */
async function openerOf(
  session: Session,
  jobId: string,
  signal: AbortSignal | undefined,
): Promise<AnswerOpener> {
  const { sealed, minerId } = await getJob(session, jobId, signal);
  if (!sealed || !minerId) throw new FormatError(`Job ${jobId} is not sealed, or has not run yet.`);
  const replyKey = await session.replyKey();
  if (sealed.replyKey !== encodeBase64(replyKey.publicKey)) {
    throw new VerificationError(
      `Job ${jobId} was sealed with another key. Only the program or browser that sealed it can open its answer.`,
    );
  }
  return AnswerOpener.of(replyKey, { jobId, minerId, requestId: sealed.requestId });
}

/** Open the results of a sealed job. */
export async function openResults(
  session: Session,
  answer: JobResults,
  signal: AbortSignal | undefined,
): Promise<JobResults> {
  const opener = await openerOf(session, answer.jobId, signal);
  return { ...answer, results: (await opener.results(answer.results as Json)).results };
}

/** Open sealed events of one job, and drop those that are repeated. */
export class EventOpener {
  #opener: Promise<AnswerOpener> | undefined;

  constructor(
    private readonly session: Session,
    private readonly jobId: string,
    private readonly signal: AbortSignal | undefined,
  ) {}

  async open(event: JobEvent): Promise<JobEvent | undefined> {
    this.#opener ??= openerOf(this.session, this.jobId, this.signal);
    const opened = await (await this.#opener).event(event.data);
    return opened && { ...event, ...opened };
  }

  /** Prepare for events that the coordinator repeats. */
  async restart(): Promise<void> {
    (await this.#opener)?.restart();
  }
}

/** Open the log of a sealed job: the lines of each of its runs, and why a run failed. */
export async function openLog(
  session: Session,
  log: JobLog,
  signal: AbortSignal | undefined,
): Promise<JobLog> {
  const opener = await openerOf(session, log.jobId, signal);
  const entries = log.entries.filter(({ source }) => source !== SEALED_SOURCE);
  const sealed = log.entries.filter(({ source }) => source === SEALED_SOURCE);
  let { truncated } = log;
  for (const attempt of new Set(sealed.map(({ attempt }) => attempt))) {
    const lines = sealed.filter((line) => line.attempt === attempt);
    const opened = await opener.log(lines.map(({ text }) => text).join(""));
    truncated ||= opened.truncated;
    for (const { time, source, text } of opened.entries) {
      entries.push({ time: new Date(time * 1000).toISOString(), attempt, source, text });
    }
    if (opened.failure) {
      const { code, message } = opened.failure;
      entries.push({ time: lines[0]?.time ?? "", attempt, source: "failure", text: `${message} (${code})` });
    }
  }
  return { ...log, entries, truncated };
}

/** Download an output file of a sealed job, opened and checked, as a blob of its media type. */
export async function openBlob(
  session: Session,
  jobId: string,
  artifactId: string,
  options: DownloadOptions,
): Promise<Blob> {
  const file = await sealedFile(session, jobId, artifactId, options.signal);
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  const sealed = await downloadBlob(session, artifactId, options);
  for await (const piece of file.open(streamOf(sealed))) pieces.push(piece);
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
  const { results } = await getResults(session, jobId, signal);
  const opener = await openerOf(session, jobId, signal);
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
