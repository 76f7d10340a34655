/** The running agent for some of the tests, which tests/acceptance starts. Without one, these tests are skipped. */

import { AITBCClient } from "../src/index.js";

const { AITBC_BASE_URL, AITBC_API_KEY, AITBC_TEST_MINER_KEY, AITBC_TEST_ADMIN_KEY, AITBC_TEST_MINER_ID } =
  process.env;

/** Whether an agent is running. */
export const isLive = AITBC_TEST_MINER_ID !== undefined;

/** Its address. */
export const baseUrl = AITBC_BASE_URL ?? "http://127.0.0.1:1";

/** Its miner. */
export const minerId = AITBC_TEST_MINER_ID ?? "";

/** Return a client of the agent with the key of a role, optionally through a proxy. */
export function clientOf(role: "client" | "miner" | "admin" = "client", url = baseUrl): AITBCClient {
  const apiKey = { client: AITBC_API_KEY, miner: AITBC_TEST_MINER_KEY, admin: AITBC_TEST_ADMIN_KEY }[role];
  return new AITBCClient({ baseUrl: url, apiKey });
}

/** Return a job with the source of its Python program inline. */
export function inlineProgram(source: string) {
  return {
    type: "ai-inference",
    model: { type: "python", entrypoint: "model.py", source: { inline: source } },
  };
}
