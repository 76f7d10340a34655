// A client of any version of the JavaScript SDK: transcodes a video, follows the job and the account's events, and verifies the receipt.
import { openAsBlob } from "node:fs";

const [module, baseUrl, apiKey, video, output] = process.argv.slice(2);
const { AITBCClient, outputFiles, verifyReceipt } = await import(module);

const client = new AITBCClient({ apiKey, baseUrl });
const { jobId } = await client.services.transcode(video, {
  outputFormat: "mp4",
  resolution: "64x48",
});
const states = [];
for await (const { job } of client.jobs.events(jobId)) if (job) states.push(job.status);
const [file] = outputFiles((await client.jobs.getResults(jobId)).results);
await client.artifacts.download(file.artifactId, output);
const events = [];
for await (const event of client.events({ after: 0 })) {
  if (event.data.job_id !== jobId && event.data.jobId !== jobId) continue;
  events.push(event.type);
  if (event.type === "receipt_created") break;
}
const { logKey } = await client.health();
const { failures } = await verifyReceipt(await client.receipts.export(jobId), {
  logKey,
  artifacts: { [file.name]: await openAsBlob(output) },
});
console.log(JSON.stringify({ state: states.at(-1), events, failures }));
