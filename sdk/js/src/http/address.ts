/** Finds the coordinator and the key: arguments, then the environment, then the agent of this machine or the page's own server. */

import { ConfigurationError } from "../errors.js";
import { nodeModuleNow, nodeProcess } from "./platform.js";

/** A coordinator and the key to use there. */
export interface Address {
  baseUrl: string;
  apiKey: string | undefined;
}

/**
 * The coordinator and key to use.
 *
 * In Node: the arguments, else `AITBC_BASE_URL` and `AITBC_API_KEY`, else the agent that runs on this machine; its key
 * goes to it only. In a browser: the arguments, else the server that the page came from. Throws `ConfigurationError`
 * when no coordinator is known.
 */
export function findAddress(baseUrl: string | undefined, apiKey: string | undefined): Address {
  const environment = nodeProcess()?.env ?? {};
  const url = baseUrl || environment.AITBC_BASE_URL || pageOrigin();
  const key = apiKey || environment.AITBC_API_KEY || undefined;
  if (url) return { baseUrl: normal(url), apiKey: key };
  const agent = localAgent();
  if (agent === undefined) {
    throw new ConfigurationError(
      "No coordinator is known. Set AITBC_BASE_URL and AITBC_API_KEY, pass baseUrl and apiKey, " +
        `or start an agent on this machine (aitbc-agent start): ${noAgent()}.`,
    );
  }
  return { baseUrl: normal(agent.url), apiKey: key ?? agent.clientKey };
}

function pageOrigin(): string | undefined {
  const origin = nodeProcess() === undefined ? globalThis.location?.origin : undefined;
  return origin === "null" ? undefined : origin;
}

function normal(url: string): string {
  if (!/^https?:\/\/[^/]/.test(url) || !URL.canParse(url)) {
    throw new ConfigurationError(
      `The coordinator's address ${JSON.stringify(url)} is malformed: it begins with https:// or http:// and names a host.`,
    );
  }
  return url.replace(/\/+$/, "").replace(/\/v1$/, "");
}

function noAgent(): string {
  const file = agentFile();
  return file === undefined ? "this Node is too old to look for one, 20.16 can" : `there is no ${file}`;
}

/** Where the agent of this user says how to reach it; undefined where there are no files. */
function agentFile(): string | undefined {
  const process = nodeProcess();
  const path = nodeModuleNow<typeof import("node:path")>("node:path");
  const os = nodeModuleNow<typeof import("node:os")>("node:os");
  if (process === undefined || path === undefined || os === undefined) return undefined;
  return path.join(process.env.AITBC_DATA_DIR || dataDirectory(process, path, os.homedir()), "agent.json");
}

function dataDirectory(
  process: NonNullable<ReturnType<typeof nodeProcess>>,
  path: typeof import("node:path"),
  home: string,
): string {
  switch (process.platform) {
    case "darwin":
      return path.join(home, "Library", "Application Support", "aitbc-agent");
    case "win32":
      return path.join(
        process.env.LOCALAPPDATA || path.join(home, "AppData", "Local"),
        "aitbc-agent",
        "aitbc-agent",
      );
    default:
      return path.join(process.env.XDG_DATA_HOME || path.join(home, ".local", "share"), "aitbc-agent");
  }
}

/** The agent of this user; undefined where none has started. Throws `ConfigurationError` when its file is unreadable. */
function localAgent(): { url: string; clientKey: string | undefined } | undefined {
  const file = agentFile();
  const fs = nodeModuleNow<typeof import("node:fs")>("node:fs");
  if (file === undefined || fs === undefined) return undefined;
  let content: { url?: unknown; client_key?: unknown } | null;
  try {
    content = JSON.parse(fs.readFileSync(file, "utf8"));
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return undefined;
    throw new ConfigurationError(`${file} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  if (typeof content?.url !== "string") throw new ConfigurationError(`${file} does not say the agent's url.`);
  return {
    url: content.url,
    clientKey: typeof content.client_key === "string" ? content.client_key : undefined,
  };
}
