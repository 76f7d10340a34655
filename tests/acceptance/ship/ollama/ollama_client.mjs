// Ollama's package for JavaScript: the models, a chat whole and streamed, a form of the answer, a prompt, vectors, a refusal.

import assert from "node:assert/strict";
import { Ollama } from "ollama";

const [host, key] = process.argv.slice(2);
const model = "smollm2-135m-instruct";
const messages = [{ role: "user", content: "Name the capital of France." }];
const options = { temperature: 0, num_predict: 32 };
const client = new Ollama({ host, headers: { Authorization: `Bearer ${key}` } });

const { models } = await client.list();
assert.ok(models.some((listed) => listed.name === `${model}:latest`));
assert.ok((await client.show({ model })).capabilities.includes("completion"));
assert.equal((await client.pull({ model })).status, "success");
assert.ok((await client.version()).version);

const answer = await client.chat({ model, messages, options });
assert.match(answer.message.content, /Paris/);
let text = "";
let last;
for await (const chunk of await client.chat({ model, messages, options, stream: true })) {
  text += chunk.message.content;
  last = chunk;
}
assert.equal(text, answer.message.content);
assert.ok(last.done && last.eval_count > 0);
assert.ok((await client.ps()).models.some((loaded) => loaded.name === `${model}:latest`));

const form = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const formed = await client.chat({
  model,
  messages,
  format: form,
  options: { ...options, num_predict: 200 },
});
assert.equal(typeof JSON.parse(formed.message.content).city, "string");
assert.match((await client.generate({ model, prompt: messages[0].content, options })).response, /Paris/);
const { embeddings } = await client.embed({ model: "all-minilm-l6-v2", input: ["one", "two"] });
assert.equal(embeddings.length, 2);
await assert.rejects(client.delete({ model }), /owners of the miners/);
await assert.rejects(client.chat({ model: "none", messages }), /There is no model/);
console.log("done");
