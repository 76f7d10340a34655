// Uploads a file with tus-js-client, as its documentation shows, and prints the artifact.
//
//   AITBC_API_KEY=... node upload.js ENDPOINT FILE
import { createReadStream } from "node:fs";
import { basename } from "node:path";
import * as tus from "tus-js-client";

const [endpoint, file] = process.argv.slice(2);
let retries = 0;

const upload = new tus.Upload(createReadStream(file), {
  endpoint,
  headers: { Authorization: `Bearer ${process.env.AITBC_API_KEY}` },
  metadata: { filename: basename(file), filetype: "video/mp4" },
  retryDelays: [0, 100, 500, 1000],
  onShouldRetry: () => {
    retries += 1;
    return true;
  },
  onError: (error) => {
    console.error(String(error));
    process.exitCode = 1;
  },
  onSuccess: ({ lastResponse }) => {
    console.log(
      JSON.stringify({ artifact_id: lastResponse.getHeader("Upload-Artifact-Id"), url: upload.url, retries }),
    );
  },
});
upload.start();
