// The AI SDK with the agent: a text, a stream, and an agent with a tool, through each of its providers for OpenAI's API.
import assert from "node:assert/strict";
import { createOpenResponses } from "@ai-sdk/open-responses";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [url, apiKey, name] = process.argv.slice(2);
const chat = createOpenAICompatible({ name: "aitbc", baseURL: `${url}/v1`, apiKey, includeUsage: true });
const responses = createOpenResponses({ name: "aitbc", url: `${url}/v1/responses`, apiKey });
const prompt = "Name the capital of France.";

const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey });
// OpenAI's own provider otherwise refers to items that it expects to be stored.
const providerOptions = { openai: { store: false } };

for (const model of [chat(name), responses(name), openai.responses(name)]) {
  const settings = { model, prompt, temperature: 0, maxOutputTokens: 64, maxRetries: 0, providerOptions };
  const { text, usage } = await generateText(settings);
  assert.match(text, /Paris/);
  assert.ok(usage.outputTokens > 3);

  const stream = streamText(settings);
  const pieces = [];
  for await (const piece of stream.textStream) pieces.push(piece);
  assert.equal(pieces.join(""), text);
  assert.ok(pieces.length > 1);

  const asked = [];
  const tools = {
    capital_of: tool({
      description: "The capital of a country.",
      inputSchema: z.object({ country: z.string() }),
      execute: async ({ country }) => {
        asked.push(country);
        return "The capital of France is Paris.";
      },
    }),
  };
  const agent = await generateText({
    ...settings,
    tools,
    stopWhen: stepCountIs(2),
    // The smallest models need to be led: they call the tool, and then answer without it.
    prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" }),
  });
  assert.equal(asked.length, 1);
  assert.equal(agent.steps.length, 2);
  assert.match(agent.text, /Paris/);
}
