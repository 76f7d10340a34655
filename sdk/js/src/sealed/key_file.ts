/** The client's key for sealed jobs in a file, which only Node can read. */

import { FormatError } from "../errors.js";
import { nodeModule } from "../http/platform.js";
import { decodeBase64, encodeBase64, parseJson } from "../verification/canonical.js";
import { exact, text } from "../verification/strict.js";
import { ReplyKey } from "./keys.js";

const OWNER_ONLY = 0o600;

/**
 * Return the key in a file, which is created at the first call. The command `aitbc` uses the same form.
 *
 * Whoever reads the file can open the answers to all jobs that were sealed with it; without it, nobody can. Throws
 * `FormatError` if it contains no key.
 */
export async function readReplyKey(path: string): Promise<ReplyKey> {
  const fs = await nodeModule<typeof import("node:fs/promises")>("node:fs/promises");
  const { dirname } = await nodeModule<typeof import("node:path")>("node:path");
  const found = await contentOf(fs, path);
  if (found !== undefined) return found;
  const key = await ReplyKey.generate({ extractable: true });
  const content = JSON.stringify({ private_key: encodeBase64(await key.exportPrivate()) });
  await fs.mkdir(dirname(path), { recursive: true });
  try {
    await fs.writeFile(path, `${content}\n`, { flag: "wx", mode: OWNER_ONLY });
  } catch (error) {
    // Another program has created it meanwhile.
    if (codeOf(error) !== "EEXIST") throw error;
    return readReplyKey(path);
  }
  return key;
}

async function contentOf(fs: typeof import("node:fs/promises"), path: string): Promise<ReplyKey | undefined> {
  let content: string;
  try {
    content = await fs.readFile(path, "utf8");
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
  try {
    const { private_key: key } = exact(parseJson(content), ["private_key"], "The file");
    return await ReplyKey.fromPrivate(decodeBase64(text(key, "The private_key")));
  } catch (error) {
    throw new FormatError(`${path} contains no key for sealed jobs: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as { code?: string }).code;
}
