// OpenAI's own client for JavaScript.
import assert from "node:assert/strict";
import { createReadStream } from "node:fs";
import OpenAI from "openai";
import { apiKey, country, files, messages, model, question, run, url } from "./cells.mjs";

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
const capital = { name: "capital_of", description: "The capital of a country.", parameters: country };
const exact = { model, messages, temperature: 0, max_tokens: 48 };
const response = { model, input: question, temperature: 0, max_output_tokens: 48 };

await run({
  async chat() {
    const answer = await client.chat.completions.create(exact);
    assert.match(answer.choices[0].message.content, /Paris/);
  },
  async chat_streamed() {
    let text = "";
    for await (const chunk of await client.chat.completions.create({ ...exact, stream: true }))
      text += chunk.choices[0].delta.content ?? "";
    assert.match(text, /Paris/);
  },
  async tools() {
    const tools = [{ type: "function", function: capital }];
    const called = await client.chat.completions.create({ ...exact, tools, tool_choice: "required" });
    assert.equal(called.choices[0].message.tool_calls[0].function.name, "capital_of");
  },
  async run_tools() {
    const tools = [
      { type: "function", function: { ...capital, parse: JSON.parse, function: () => "It is Paris." } },
    ];
    const runner = client.chat.completions.runTools({ ...exact, tools }, { maxChatCompletions: 2 });
    await runner.done();
  },
  async responses() {
    assert.match((await client.responses.create(response)).output_text, /Paris/);
  },
  async responses_streamed() {
    assert.match((await client.responses.stream(response).finalResponse()).output_text, /Paris/);
  },
  async responses_tools() {
    const tools = [{ type: "function", strict: false, ...capital }];
    const first = await client.responses.create({ ...response, tools, tool_choice: "required" });
    const calls = first.output.filter((item) => item.type === "function_call");
    assert.ok(JSON.parse(calls[0].arguments).country);
    const results = calls.map((call) => ({
      type: "function_call_output",
      call_id: call.call_id,
      output: "The capital of France is Paris.",
    }));
    const second = { ...response, input: [...messages, ...first.output, ...results] };
    assert.match((await client.responses.create(second)).output_text, /Paris/);
  },
  async unknown_response() {
    await client.responses.create({ ...response, previous_response_id: "resp_1" });
  },
  async embeddings() {
    const answer = await client.embeddings.create({ model: "all-minilm-l6-v2", input: "Hi" });
    assert.equal(answer.data[0].embedding.length, 384);
  },
  async transcription() {
    const file = createReadStream(`${files}/speech.wav`);
    assert.match((await client.audio.transcriptions.create({ model: "tiny.en", file })).text, /coordinator/);
  },
  async speech() {
    const answer = await client.audio.speech.create({ model: "tts-1", voice: "alloy", input: question });
    assert.ok((await answer.arrayBuffer()).byteLength > 1000);
  },
  async images() {
    const picture = { model: "untrained-diffusion", prompt: "A red square", size: "64x64" };
    assert.ok((await client.images.generate(picture)).data[0].b64_json);
  },
});
