/** Finds the coordinator and the key: from arguments, the environment, the agent on this machine, or the page's origin. */

import { ConfigurationError } from "../errors.js";
import { nodeModuleNow, nodeProcess } from "./platform.js";

/** A coordinator's URL and the key for it. */
export interface Address {
  baseUrl: string;
  apiKey: string | undefined;
}

/**
 * Return the coordinator and key to use.
 *
 * In Node: the arguments, else `AITBC_BASE_URL` and `AITBC_API_KEY`, else the agent on this machine, whose key is used for
 * that agent only. In a browser: the arguments, else the page's origin. Throws `ConfigurationError` if there is no
 * coordinator.
 */
export function findAddress(baseUrl: string | undefined, apiKey: string | undefined): Address {
  const environment = nodeProcess()?.env ?? {};
  const url = baseUrl || environment.AITBC_BASE_URL || pageOrigin();
  const key = apiKey || environment.AITBC_API_KEY || undefined;
  if (url) return { baseUrl: normal(url), apiKey: key };
  const agent = localAgent();
  if (agent === undefined) {
    throw new ConfigurationError(
      "No coordinator is configured. Set AITBC_BASE_URL and AITBC_API_KEY, pass baseUrl and apiKey, " +
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
      `The coordinator's address ${JSON.stringify(url)} is malformed: it must start with https:// or http:// and name a host.`,
    );
  }
  return url.replace(/\/+$/, "").replace(/\/v1$/, "");
}

function noAgent(): string {
  const file = agentFile();
  return file === undefined ? "detecting a local agent needs Node 20.16 or newer" : `${file} does not exist`;
}

/** Return the path of the file with the local agent's address; undefined without file system access. */
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

/** Return the local agent, or undefined if its file does not exist. Throws `ConfigurationError` if the file is unreadable. */
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
  if (typeof content?.url !== "string") throw new ConfigurationError(`${file} has no field "url".`);
  return {
    url: content.url,
    clientKey: typeof content.client_key === "string" ? content.client_key : undefined,
  };
}
