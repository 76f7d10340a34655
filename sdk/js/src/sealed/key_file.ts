/** The client's key for sealed jobs in a file, which only Node can read, and how such private files are created. */

import { FormatError } from "../errors.js";
import { nodeModule } from "../http/platform.js";
import { decodeBase64, encodeBase64, parseJson } from "../verification/canonical.js";
import { exact, text } from "../verification/strict.js";
import { ReplyKey } from "./keys.js";

const NAME = "sealing.json";
const OWNER_ONLY = 0o600;
const OWNERS_DIRECTORY = 0o700;

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
export async function usualPath(): Promise<string> {
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
  const found = await contentOf(fs, path);
  if (found !== undefined) return found;
  const key = await ReplyKey.generate({ extractable: true });
  const content = JSON.stringify({
    private_key: encodeBase64(await key.exportPrivate()),
    public_key: encodeBase64(key.publicKey),
  });
  // Another program may have created it meanwhile.
  return (await createPrivate(path, `${content}\n`)) ? key : read(path);
}

/** Create a file whole or not at all, for its owner only. Returns false if there is one, which stays. */
export async function createPrivate(path: string, content: string): Promise<boolean> {
  const fs = await nodeModule<typeof import("node:fs/promises")>("node:fs/promises");
  const { basename, dirname, join } = await nodeModule<typeof import("node:path")>("node:path");
  await fs.mkdir(dirname(path), { recursive: true, mode: OWNERS_DIRECTORY });
  const temporary = join(dirname(path), `.${basename(path)}.${crypto.randomUUID()}`);
  const file = await fs.open(temporary, "wx", OWNER_ONLY);
  try {
    await file.writeFile(content);
    await file.sync();
    await fs.link(temporary, path);
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
    return false;
  } finally {
    await file.close();
    await fs.rm(temporary, { force: true });
  }
  return true;
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
