/** The memory of sealed jobs in a directory beside the client's key, which only Node can read. The command `aitbc` shares it. */

import { ConfigurationError, FormatError } from "../errors.js";
import { nodeModule } from "../http/platform.js";
import { parseJson } from "../verification/canonical.js";
import { exact, JOB_ID, MINER_ID, text } from "../verification/strict.js";
import { createPrivate, usualPath } from "./key_file.js";
import { MAX_RECORDS, type SealedRequest, type SealingMemory } from "./memory.js";

const DIRECTORY = "sealed_jobs";
const REQUEST_ID = /^[0-9a-f]{32}$/;
const FIELDS = ["miner_id", "reply_key", "request_id"] as const;
/** New records after which the files are counted again. */
const PRUNED_AFTER = 1000;

/** Return the memory in a directory: without a `path`, in the one of the command `aitbc`. */
export async function directoryMemory(path?: string): Promise<SealingMemory> {
  const fs = await nodeModule<typeof import("node:fs/promises")>("node:fs/promises");
  const { existsSync } = await nodeModule<typeof import("node:fs")>("node:fs");
  const { dirname, join } = await nodeModule<typeof import("node:path")>("node:path");
  const directory = path ?? join(dirname(await usualPath()), DIRECTORY);
  let added = 0;

  const get = async (id: string): Promise<SealedRequest | undefined> => {
    // A user who cannot enter the directory has never sealed a job with it.
    if (!isId(id) || !existsSync(directory)) return undefined;
    const file = join(directory, `${id}.json`);
    try {
      return read(await fs.readFile(file, "utf8"));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      // It must not be taken for a missing one, since the answer would then be believed as the coordinator returns it.
      throw new ConfigurationError(`${file} cannot be read: ${(error as Error).message}`, { cause: error });
    }
  };

  const add = async (id: string, request: SealedRequest): Promise<SealedRequest> => {
    if (!isId(id)) throw new FormatError(`${JSON.stringify(id)} is not an id of a job.`);
    const { minerId, replyKey, requestId } = request;
    const content = JSON.stringify({ miner_id: minerId, reply_key: replyKey, request_id: requestId });
    try {
      if (!(await createPrivate(join(directory, `${id}.json`), content))) return (await get(id)) ?? request;
    } catch (error) {
      if (error instanceof ConfigurationError) throw error;
      throw new ConfigurationError(
        `${directory}, where this client remembers what it sealed, cannot be written: ${(error as Error).message}`,
        { cause: error },
      );
    }
    if (added % PRUNED_AFTER === 0) await prune(directory);
    added += 1;
    return request;
  };

  return { get, add };
}

/** Delete the oldest records if there are too many. */
async function prune(directory: string): Promise<void> {
  const fs = await nodeModule<typeof import("node:fs/promises")>("node:fs/promises");
  const { join } = await nodeModule<typeof import("node:path")>("node:path");
  const names = await fs.readdir(directory);
  if (names.length <= MAX_RECORDS) return;
  const ages = await Promise.all(
    names.map(async (name) => {
      const file = join(directory, name);
      return { file, age: (await fs.stat(file).catch(() => undefined))?.mtimeMs ?? 0 };
    }),
  );
  ages.sort((one, other) => one.age - other.age);
  for (const { file } of ages.slice(0, ages.length - MAX_RECORDS)) await fs.rm(file, { force: true });
}

function read(content: string): SealedRequest {
  const fields = exact(parseJson(content), FIELDS, "The record");
  return {
    minerId: text(fields.miner_id, "The record's miner_id", MINER_ID),
    requestId: text(fields.request_id, "The record's request_id", REQUEST_ID),
    replyKey: text(fields.reply_key, "The record's reply_key"),
  };
}

/** Return whether a name is an id. The coordinator chooses those of jobs, and must not choose a path. */
function isId(name: string): boolean {
  return JOB_ID.test(name) || REQUEST_ID.test(name);
}
