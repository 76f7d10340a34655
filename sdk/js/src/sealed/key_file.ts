/** The client's key for sealed jobs in a file, which only Node can read. */

import { FormatError } from "../errors.js";
import { nodeModule } from "../http/platform.js";
import { decodeBase64, encodeBase64, parseJson } from "../verification/canonical.js";
import { exact, text } from "../verification/strict.js";
import { ReplyKey } from "./keys.js";

const NAME = "sealing.json";
const OWNER_ONLY = 0o600;

/**
 * Return the key in a file, which is created at the first call. Without a `path`, it is the one of the command `aitbc`.
 *
 * Anyone who reads the file can open the answers to all jobs that were sealed with it; without it, nobody can. Throws
 * `FormatError` if it contains no key.
 */
export async function readReplyKey(path?: string): Promise<ReplyKey> {
  return read(path ?? (await usualPath()));
}

/** Return the file of the command `aitbc`: in `AITBC_CONFIG_DIR`, or in the user's configuration. */
async function usualPath(): Promise<string> {
  const { join } = await nodeModule<typeof import("node:path")>("node:path");
  const { homedir } = await nodeModule<typeof import("node:os")>("node:os");
  const { env, platform } = process;
  const folders: Partial<Record<NodeJS.Platform, string>> = {
    darwin: join(homedir(), "Library", "Application Support", "aitbc"),
    win32: join(env.LOCALAPPDATA || join(homedir(), "AppData", "Local"), "aitbc", "aitbc"),
  };
  const usual = folders[platform] ?? join(env.XDG_CONFIG_HOME || join(homedir(), ".config"), "aitbc");
  return join(env.AITBC_CONFIG_DIR || usual, NAME);
}

async function read(path: string): Promise<ReplyKey> {
  const fs = await nodeModule<typeof import("node:fs/promises")>("node:fs/promises");
  const { dirname } = await nodeModule<typeof import("node:path")>("node:path");
  const found = await contentOf(fs, path);
  if (found !== undefined) return found;
  const key = await ReplyKey.generate({ extractable: true });
  const content = JSON.stringify({
    private_key: encodeBase64(await key.exportPrivate()),
    public_key: encodeBase64(key.publicKey),
  });
  await fs.mkdir(dirname(path), { recursive: true });
  try {
    await fs.writeFile(path, `${content}\n`, { flag: "wx", mode: OWNER_ONLY });
  } catch (error) {
    // Another program has created it meanwhile.
    if (codeOf(error) !== "EEXIST") throw error;
    return read(path);
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
    const { private_key: key } = exact(parseJson(content), ["private_key", "public_key"], "The file");
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
