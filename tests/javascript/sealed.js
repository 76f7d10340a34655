// Seals a question to a miner, or reads what the coordinator returns of a sealed job, with the JavaScript client.
//
//   AITBC_BASE_URL=... AITBC_API_KEY=... AITBC_CONFIG_DIR=... node sealed.js seal MINER [read]
//   ... node sealed.js read JOB
//
// Prints the job's id, or what each call returned: what it yielded, whether it was opened, and the words of its error.
import { AITBCClient } from "../../sdk/js/dist/index.js";

const [action, id, then] = process.argv.slice(2);
const { AITBC_BASE_URL: baseUrl, AITBC_API_KEY: apiKey } = process.env;
const client = new AITBCClient({ baseUrl, apiKey, retries: 0 });

async function events(job) {
  const seen = [];
  for await (const { kind, data, opened } of client.jobs.events(job)) seen.push([kind, data.text, opened]);
  return seen;
}

async function read(job) {
  const calls = {
    results: () => client.jobs.getResults(job),
    signed: () => client.jobs.getResults(job, { opened: false }),
    events: () => events(job),
    log: () => client.jobs.log(job),
    receipt: () => client.receipts.export(job),
    rerun: () => client.jobs.rerun(job),
  };
  const answers = {};
  for (const [name, call] of Object.entries(calls)) {
    answers[name] = await call().then(
      (value) => ({ value }),
      (error) => ({ error: error.name, message: error.message }),
    );
  }
  return answers;
}

if (action === "read") {
  console.log(JSON.stringify(await read(id)));
} else {
  const question = { model: "small", minerId: id, seal: true, idempotencyKey: then };
  const { jobId } = await client.services.infer("2 + 2?", question);
  console.log(then === "read" ? JSON.stringify(await read(jobId)) : jobId);
}
