// Uploads a file with the JavaScript client and downloads it again. Prints the artifact and the positions of the upload's progress.
//
//   AITBC_BASE_URL=... AITBC_API_KEY=... node direct.js FILE COPY
import { AITBCClient } from "../../sdk/js/dist/index.js";

const [file, copy] = process.argv.slice(2);
const { AITBC_BASE_URL: baseUrl, AITBC_API_KEY: apiKey } = process.env;
const client = new AITBCClient({ baseUrl, apiKey, retries: 1 });
const progress = [];
const artifact = await client.artifacts.upload(file, { onProgress: (done) => progress.push(done) });
await client.artifacts.download(artifact.artifactId, copy);
console.log(JSON.stringify({ ...artifact, progress }));
