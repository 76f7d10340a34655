/** Verifies the content of a sealed job against the salted digests that its miner signed. */

import { FormatError } from "../errors.js";
import type { CheckedArtifact } from "../verification/receipts.js";
import type { Report } from "../verification/report.js";
import type { Json } from "../verification/shape.js";
import { AnswerOpener } from "./answer.js";
import { streamOf } from "./files.js";
import type { ReplyKey } from "./keys.js";

/** Open the results and the artifacts (sealed files, as they are stored) of a sealed job, and verify their digests. */
export async function verifySealed(
  report: Report,
  replyKey: ReplyKey,
  results: Json | undefined,
  artifacts: Record<string, CheckedArtifact>,
): Promise<void> {
  const { statement } = report;
  if (statement === undefined) return;
  const { sealed, jobId, minerId } = statement;
  if (sealed === null) {
    report.expect("sealed", false, "", "the statement is of a job that was not sealed");
    return;
  }
  const opener = await AnswerOpener.of(replyKey, { jobId, minerId, requestId: sealed.requestId });
  const opened = await report.attemptLater("sealed results", async () => {
    if (results === undefined) throw new FormatError("The sealed results are missing.");
    return opener.results(results);
  });
  if (opened === undefined || results === undefined) return;
  report.opened = opened.results;
  const isRun = opened.fence === statement.fence && opened.specDigest === statement.specDigest;
  report.expect(
    "sealed results",
    isRun && opened.digest === sealed.digests.results,
    "open with your key, and have the signed digest",
    "differ from those that the miner signed",
  );
  for (const [name, artifact] of Object.entries(artifacts)) {
    if (typeof artifact === "string") continue;
    const number = statement.subject
      .slice(1)
      .findIndex((item) => name === item.name || name === `sha256:${item.sha256}`);
    if (number < 0) continue; // verified and reported with the other artifacts
    const content = streamOf(artifact instanceof Blob ? artifact : new Blob([artifact as BlobPart]));
    const digest = await report.attemptLater(`sealed artifact ${name}`, () =>
      opener.digest(`output:${number}`, opener.file(results, number, content)),
    );
    if (digest === undefined) continue;
    report.expect(
      `sealed artifact ${name}`,
      digest === sealed.digests.outputs[number],
      "opens with your key, and has the signed digest",
      "differs from the file that the miner signed",
    );
  }
}
