// OpenAI's own client for JavaScript with the agent: chat completions and responses, whole, streamed, and with a tool.
import assert from "node:assert/strict";
import OpenAI from "openai";

const [url, apiKey, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
const content = "Name the capital of France.";
const messages = [{ role: "user", content }];
const parameters = { type: "object", properties: { country: { type: "string" } }, required: ["country"] };
const weather = { name: "capital_of", description: "The capital of a country.", parameters };

const answer = await client.chat.completions.create({ model, messages, temperature: 0, max_tokens: 64 });
const text = answer.choices[0].message.content;
assert.match(text, /Paris/);
let streamed = "";
const stream = await client.chat.completions.create({
  model,
  messages,
  temperature: 0,
  max_tokens: 64,
  stream: true,
});
for await (const chunk of stream) streamed += chunk.choices[0].delta.content ?? "";
assert.equal(streamed, text);
const tools = [{ type: "function", function: weather }];
const called = await client.chat.completions.create({ model, messages, tools, tool_choice: "required" });
assert.equal(called.choices[0].message.tool_calls[0].function.name, "capital_of");

const request = { model, input: content, temperature: 0, max_output_tokens: 64 };
const response = await client.responses.create(request);
assert.equal(response.output_text, text);
const assembled = await client.responses.stream(request).finalResponse();
assert.equal(assembled.output_text, text);
const functions = [{ type: "function", strict: false, ...weather }];
const first = await client.responses.create({ ...request, tools: functions, tool_choice: "required" });
const call = first.output.find((item) => item.type === "function_call");
assert.ok(JSON.parse(call.arguments).country);
const output = {
  type: "function_call_output",
  call_id: call.call_id,
  output: "The capital of France is Paris.",
};
const second = await client.responses.create({ ...request, input: [...messages, ...first.output, output] });
assert.match(second.output_text, /Paris/);

const vanished = client.responses.create({ model, input: content, previous_response_id: "resp_1" });
await assert.rejects(vanished, /send the whole conversation in input/);
