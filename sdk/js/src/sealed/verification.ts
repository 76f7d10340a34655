/** Verifies the content of a sealed job against the salted digests that its miner signed. */

import { piecesOf } from "../bytes.js";
import { FormatError } from "../errors.js";
import type { CheckedArtifact, Report } from "../verification/report.js";
import type { Json } from "../verification/shape.js";
import type { Statement } from "../verification/statement.js";
import { AnswerOpener } from "./answer.js";
import type { ReplyKey } from "./keys.js";
import type { SealingMemory } from "./memory.js";
import { usualMemory } from "./usual_memory.js";

/** The client's key, and its memory unless that is the usual one. */
interface Client {
  replyKey: ReplyKey;
  sealingMemory: SealingMemory | undefined;
}

/** Open the results and the artifacts (sealed files, as they are stored) of a sealed job, and verify their digests. */
export async function verifySealed(
  report: Report,
  client: Client,
  results: Json | undefined,
  artifacts: Record<string, CheckedArtifact>,
): Promise<void> {
  const { statement } = report;
  if (statement === undefined) return;
  const { sealed } = statement;
  if (sealed === null) {
    report.expect("sealed", false, "", "the statement is of a job that was not sealed");
    return;
  }
  const opener = await openerOf(report, client, statement, sealed.requestId);
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
    const content = piecesOf(new Blob([artifact as BlobPart]).stream());
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

/** Return the opener of the answer, and verify that the statement is about what this client sealed, if it remembers that. */
async function openerOf(
  report: Report,
  { replyKey, sealingMemory }: Client,
  statement: Statement,
  requestId: string,
): Promise<AnswerOpener> {
  const { jobId, minerId } = statement;
  const own = await (sealingMemory ?? (await usualMemory())).get(jobId);
  const opener = await AnswerOpener.of(replyKey, { minerId, requestId, ...own, jobId });
  const wrong = await opener.errorsOf(statement);
  report.expect(
    "sealed request",
    wrong.length === 0,
    own
      ? "is the one that this client sealed"
      : "may be another one: this client has no memory of sealing the job",
    wrong.join("; "),
  );
  return opener;
}
