/**
 * What the checks of a receipt add up to: an answer to each of the four questions that people have about it.
 *
 * The Python SDK has the same; `tests/vectors/receipts.json` fixes the sentences of both.
 */

import type { Check, Verification } from "./report.js";
import type { Statement } from "./statement.js";

export type Question = "who" | "what" | "price" | "log";
export type Verdict = "proven" | "failed" | "unchecked";

const QUESTIONS: readonly Question[] = ["who", "what", "price", "log"];

/** The checks of each question, by their names. All other checks are about what the job was. */
const CHECKS: Partial<Record<Question, string[]>> = {
  who: [
    ...["signature", "miner signature", "miner_id", "statement", "attestations", "assignment", "completion"],
    "attestation",
  ],
  price: ["price", "units"],
  log: ["origin", "proof", "checkpoint", "inclusion", "witnesses"],
};

/** By a check's name: its subject, and a sentence for when it passed. */
const WORDS: Record<string, [subject: string, passed: string]> = {
  assignment: ["Assignment", "The coordinator signed that it gave this job to this miner"],
  attestation: ["Attestation", "What the machine proves about its memory is right"],
  attestations: ["Confirmations", "The coordinator confirmed the job's beginning and its end"],
  bundle: ["File", "The file has the form of an exported receipt"],
  checkpoint: ["Log", "The state of the log is signed with the log's key"],
  completion: ["Completion", "The coordinator signed that it accepted this result"],
  created_at: ["Date", "The receipt's date is the one that the coordinator signed"],
  files: ["Output files", "The output files are the ones that the miner signed"],
  inclusion: ["Entry", "The log contains this receipt"],
  job_id: ["Job", "The receipt's job is the signed one"],
  "miner signature": ["Miner's signature", "The miner's signature is valid"],
  miner_id: ["Miner", "The miner's name follows from its key"],
  origin: ["Network", "The receipt is for the network whose key was used"],
  price: ["Price", "The price is at most what was metered"],
  proof: ["Proof", "The proof can be read"],
  receipt: ["Receipt", "The receipt can be read"],
  receipt_id: ["Receipt", "The receipt's number belongs to the job"],
  results: ["Result", "The result is the one that the miner signed"],
  sealed: ["Sealed", "The sealed answer belongs to this client's request"],
  "sealed request": ["Sealed request", "The sealed request is this client's"],
  "sealed results": ["Sealed result", "The result opens with your key, and is the one that the miner signed"],
  signature: ["Copy of the signature", "The copy of the miner's signature is the same"],
  statement: ["Statement", "The statement names the miner that signed it"],
  times: ["Times", "The job ran between its assignment and its completion"],
  units: ["Units", "The metered units are those of the result"],
  witnesses: ["Witnesses", "As many witnesses signed the log's state as the policy requires"],
};

/** What a failed check means, by its name: the first that fits, of which the last is without names. */
const FAILURES: Record<Question, [causes: string[], sentence: string][]> = {
  who: [
    [
      ["attestations", "assignment", "completion"],
      "The miner {miner} signed it, but the coordinator's confirmation is not valid.",
    ],
    [["attestation"], "What the machine claims about its memory is not proven."],
    [[], "The receipt names somebody else than the miner that signed it."],
  ],
  what: [
    [["results", "sealed results"], "The result is not the one that the miner signed."],
    [["files", "artifact "], "An output file is not one that the miner signed."],
    [["sealed", "sealed request"], "It does not answer the request that this client sealed."],
    [["job_id", "receipt_id"], "It contradicts what the miner signed about the job."],
    [[], "Its times contradict each other."],
  ],
  price: [
    [["price"], "The price is higher than the metered work allows."],
    [[], "The metered work is not that of the result."],
  ],
  log: [
    [
      ["proof", "checkpoint", "inclusion"],
      "The log of {network} does not prove that it contains this receipt.",
    ],
    [[], "Too few witnesses have signed the state of the log."],
  ],
};

/**
 * The answer to one question about a receipt, with the `checks` behind it.
 *
 * `question` is who (signed it), what (ran), price or log. `verdict` is `unchecked` where nothing contradicts the receipt but
 * something needed for a proof is absent. `sentence` states the answer to a person.
 */
export interface Conclusion {
  question: Question;
  verdict: Verdict;
  sentence: string;
  checks: Check[];
}

/** Return the name of the network whose receipt this is, if a miner signed it but the log key used is another network's. */
export function otherNetwork(outcome: Verification): string | undefined {
  const foreign = outcome.checks.some(({ name, ok }) => name === "origin" && !ok);
  return foreign ? outcome.statement?.origin : undefined;
}

/** Return a check as a sentence. That of a failed one has its subject and what is wrong. */
export function checkWords({ name, ok, message }: Check): string {
  const [subject, passed] = wordsOf(name);
  return ok ? `${passed}.` : `${subject}: ${message}`;
}

function wordsOf(name: string): [string, string] {
  const [, prefix = "", file] = /^(.*)artifact (.+)$/s.exec(name) ?? [];
  if (file)
    return [`${capitalized(prefix)}File ${file}`, `The file ${file} is an output that the miner signed`];
  return WORDS[name] ?? [capitalized(name), `${capitalized(name)} is right`];
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1).toLowerCase();
}

/** Return what the checks prove, one conclusion for each question: who, what, price, log. */
export function conclusions(outcome: Verification): Conclusion[] {
  return QUESTIONS.map((question) => {
    const checks = outcome.checks.filter(({ name }) => questionOf(name) === question);
    return { question, checks, ...conclusion(question, checks, outcome) };
  });
}

function questionOf(name: string): Question {
  return QUESTIONS.find((question) => CHECKS[question]?.includes(name)) ?? "what";
}

function conclusion(
  question: Question,
  checks: Check[],
  outcome: Verification,
): Pick<Conclusion, "verdict" | "sentence"> {
  const { statement } = outcome;
  const failed = checks.filter(({ ok }) => !ok).map(({ name }) => name);
  const passed = (name: string) => checks.some((check) => check.ok && check.name === name);
  if (statement === undefined) return unreadable(question, failed, outcome.minerSignatureValid);
  // Without its coordinator's key, the signature only shows that some key signed some words.
  if (otherNetwork(outcome) !== undefined) {
    return { verdict: "unchecked", sentence: foreign(question, statement) };
  }
  if (failed.length > 0) return { verdict: "failed", sentence: failure(question, failed, statement) };
  if (question === "what" && !passed("results")) {
    const sentence = `${run(statement)}. The file lacks the result, so only the statement was checked.`;
    return { verdict: "unchecked", sentence };
  }
  if (question === "log" && !passed("inclusion")) {
    const sentence =
      "The file lacks the proof that the log contains the receipt. Export the receipt again to get it.";
    return { verdict: "unchecked", sentence };
  }
  return { verdict: "proven", sentence: proof(question, statement, outcome.logIndex) };
}

function unreadable(
  question: Question,
  failed: string[],
  signed: boolean,
): Pick<Conclusion, "verdict" | "sentence"> {
  if (question === "who" && failed.length > 0) {
    const reason = signed ? "its statement cannot be read" : "the miner's signature is not valid";
    return { verdict: "failed", sentence: `Nobody vouches for this receipt: ${reason}.` };
  }
  if (question === "what" && failed.length > 0) {
    return { verdict: "failed", sentence: "The file is not a receipt that can be read." };
  }
  const sentence = "Not checked, because the receipt has no valid statement of a miner.";
  return { verdict: "unchecked", sentence };
}

function foreign(question: Question, statement: Statement): string {
  return {
    who: `A miner, ${statement.minerId}, signed it for the network ${statement.origin}. The key of that network is needed to check who confirmed it.`,
    what: `${run(statement)}, according to the miner.`,
    price: `${price(statement)}, according to the miner.`,
    log: `The log of ${statement.origin} was not checked, because its key is needed.`,
  }[question];
}

function failure(question: Question, failed: string[], statement: Statement): string {
  const [, sentence = ""] =
    FAILURES[question].find(
      ([causes]) =>
        causes.length === 0 ||
        failed.some(
          (name) => causes.includes(name) || (name.includes("artifact ") && causes.includes("artifact ")),
        ),
    ) ?? [];
  return sentence.replace("{miner}", statement.minerId).replace("{network}", statement.origin);
}

function proof(question: Question, statement: Statement, logIndex: number | undefined): string {
  const outputs = statement.subject.length - 1;
  const files = outputs > 0 ? ` and ${outputs} output file${outputs === 1 ? "" : "s"}` : "";
  return {
    who: `The miner ${statement.minerId} signed it, and the coordinator of ${statement.origin} confirmed it.`,
    what: `${run(statement)}. Its result${files} ${files ? "are" : "is"} unchanged since the miner signed.`,
    price: `${price(statement)}.`,
    log: `The public log of ${statement.origin} contains it for good, as entry ${logIndex}.`,
  }[question];
}

function run(statement: Statement): string {
  return `The job ${statement.jobId} (${statement.service}) was done at ${statement.finishedAt}`;
}

function price(statement: Statement): string {
  return `${statement.price} credits, for ${statement.units} of the unit ${statement.unit}`;
}
