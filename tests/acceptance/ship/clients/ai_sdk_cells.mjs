// The AI SDK, through each of its providers for OpenAI's API.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenResponses } from "@ai-sdk/open-responses";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import {
  embedMany,
  generateImage,
  experimental_generateSpeech as generateSpeech,
  generateText,
  Output,
  stepCountIs,
  streamText,
  tool,
  experimental_transcribe as transcribe,
} from "ai";
import { z } from "zod";
import { apiKey, files, model as name, question as prompt, run, url } from "./cells.mjs";

const compatible = createOpenAICompatible({
  name: "aitbc",
  baseURL: `${url}/v1`,
  apiKey,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const responses = createOpenResponses({ name: "aitbc", url: `${url}/v1/responses`, apiKey });
const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey });
const anthropic = createAnthropic({ baseURL: `${url}/v1`, apiKey });
// OpenAI's own provider otherwise refers to items that it expects to be stored.
const providerOptions = { openai: { store: false } };
const city = z.object({ city: z.string().max(20) });
const common = { prompt, temperature: 0, maxOutputTokens: 48, maxRetries: 0, providerOptions };

async function each(check) {
  for (const model of [compatible(name), responses(name), openai.responses(name), openai.chat(name)])
    await check({ ...common, model });
}

const capital = (inputSchema = z.object({ country: z.string().max(20) })) => ({
  capital_of: tool({
    description: "The capital of a country.",
    inputSchema,
    execute: async () => "The capital of France is Paris.",
  }),
});

await run({
  text: () =>
    each(async (settings) => {
      const { text, usage } = await generateText(settings);
      assert.match(text, /Paris/);
      assert.ok(usage.outputTokens > 3);
    }),
  stream: () =>
    each(async (settings) => {
      const pieces = [];
      for await (const piece of streamText(settings).textStream) pieces.push(piece);
      assert.match(pieces.join(""), /Paris/);
      assert.ok(pieces.length > 1);
    }),
  object: () =>
    each(async (settings) => {
      const { output } = await generateText({ ...settings, output: Output.object({ schema: city }) });
      assert.equal(typeof output.city, "string");
    }),
  two_steps_with_a_tool: () =>
    each(async (settings) => {
      const agent = await generateText({
        ...settings,
        maxOutputTokens: 800, // enough for the many calls that the smallest models write at once
        tools: capital(),
        stopWhen: stepCountIs(2),
        // The smallest models need to be led: they call the tool, and then answer without it.
        prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" }),
      });
      assert.equal(agent.steps.length, 2);
      assert.match(agent.text, /Paris/);
    }),
  object_with_a_tool: () =>
    each(async (settings) => {
      const answer = await generateText({
        ...settings,
        tools: capital(),
        output: Output.object({ schema: city }),
      });
      assert.ok(answer.toolCalls.length > 0 || answer.output.city !== undefined);
    }),
  tool_with_a_record: () =>
    each(async (settings) => {
      await generateText({
        ...settings,
        tools: capital(z.object({ labels: z.record(z.string(), z.string()) })),
      });
    }),
  tool_with_an_address: () =>
    each(async (settings) => {
      await generateText({ ...settings, tools: capital(z.object({ link: z.url() })) });
    }),
  messages: async () => {
    assert.match((await generateText({ ...common, model: anthropic(name) })).text, /Paris/);
  },
  embeddings: async () => {
    const model = openai.embedding("all-minilm-l6-v2");
    assert.equal((await embedMany({ model, values: ["Hi", "Ho"] })).embeddings[1].length, 384);
  },
  transcription: async () => {
    const audio = readFileSync(`${files}/speech.wav`);
    const { text } = await transcribe({ model: openai.transcription("tiny.en"), audio, maxRetries: 0 });
    assert.match(text, /coordinator/);
  },
  speech: async () => {
    const { audio } = await generateSpeech({
      model: openai.speech("tts-1"),
      text: prompt,
      voice: "alloy",
      maxRetries: 0,
    });
    assert.ok(audio.uint8Array.length > 1000);
  },
  images: async () => {
    const model = openai.image("untrained-diffusion");
    const { image } = await generateImage({ model, prompt: "A red square", size: "64x64", maxRetries: 0 });
    assert.ok(image.base64.length > 100);
  },
});
