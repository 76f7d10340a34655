// LangChain for JavaScript.
import assert from "node:assert/strict";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { z } from "zod";
import { apiKey, country, model, question, run, url } from "./cells.mjs";

const settings = {
  model,
  apiKey,
  temperature: 0,
  maxTokens: 48,
  maxRetries: 0,
  configuration: { baseURL: `${url}/v1` },
};
const chat = new ChatOpenAI(settings);
const city = z.object({ city: z.string().max(20) });

await run({
  async invoke() {
    assert.match((await chat.invoke(question)).text, /Paris/);
  },
  async stream() {
    let text = "";
    for await (const piece of await chat.stream(question)) text += piece.text;
    assert.match(text, /Paris/);
  },
  async bind_tools() {
    const tools = [{ type: "function", function: { name: "capital_of", parameters: country } }];
    const called = await chat.bindTools(tools, { tool_choice: "required" }).invoke(question);
    assert.equal(called.tool_calls[0].name, "capital_of");
  },
  async structured_output() {
    const answer = await chat
      .withStructuredOutput(city, { name: "city", method: "jsonSchema" })
      .invoke(question);
    assert.equal(typeof answer.city, "string");
  },
  async embeddings() {
    const embeddings = new OpenAIEmbeddings({ ...settings, model: "all-minilm-l6-v2" });
    assert.equal((await embeddings.embedQuery("Hi")).length, 384);
  },
});
