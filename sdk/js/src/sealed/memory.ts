/**
 * What a client remembers of the jobs that it sealed: which miner must answer which request.
 *
 * The coordinator names the miner and the request of every job too, but could name others, whose answer it has. So a client
 * opens answers with this memory.
 */

import { VerificationError } from "../errors.js";

/** Records after which the oldest are deleted. A job has two. */
export const MAX_RECORDS = 100_000;

/** A request that this client sealed: to which miner, its id, and the client's public key (base64). */
export interface SealedRequest {
  minerId: string;
  requestId: string;
  replyKey: string;
}

/** Stores requests by their own ids, and by those of the jobs that answer them. A record never changes. */
export interface SealingMemory {
  /** Return what is stored under an id. It must throw if it cannot know. */
  get(id: string): Promise<SealedRequest | undefined>;
  /** Store a request under an id, unless something is stored there. Return what is. */
  add(id: string, request: SealedRequest): Promise<SealedRequest>;
}

/** Remember which request a new job answers. Throws `VerificationError` for the id of a job that answers another one. */
export async function rememberJob(
  memory: SealingMemory,
  jobId: string,
  request: SealedRequest,
): Promise<void> {
  const { requestId } = await memory.add(jobId, request);
  if (requestId === request.requestId) return;
  throw new VerificationError(
    `The coordinator returned the id of job ${jobId}, which answers an earlier request. Do not trust it.`,
  );
}
