/** A receipt is valid exactly if everything in it is signed or follows from signed data. */

import { describe, expect, test } from "vitest";
import {
  checkWords,
  conclusions,
  type Json,
  type JsonObject,
  otherNetwork,
  parseJson,
  type Verification,
  verifyReceipt,
} from "../src/index.js";
import { parsePolicy } from "../src/verification/policy.js";
import { camelCased } from "../src/verification/shape.js";
import { fromBase64, vectors } from "./vectors.js";

interface Case {
  name: string;
  bundle: Json;
  miner_signature_valid: boolean;
  coordinator_attestations: number;
  failures: string[];
  receipt_failures: string[];
  conclusions: object[];
  words: string[];
}

const vector = vectors<{
  log_key: string;
  other_log_key: string;
  film_base64: string;
  bundle: { format: string; receipt: JsonObject; results: JsonObject; proof: string };
  text: string;
  bundle_without_sandbox: JsonObject;
  failures_under_other_log: string[];
  right_times: Record<string, JsonObject>;
  cases: Case[];
  bytes: { step: number; failures: (string[] | null)[] };
  conclusions: object[];
  conclusions_without_proof: object[];
  conclusions_under_other_log: object[];
  words: string[];
}>("receipts");
const {
  log_key,
  other_log_key,
  film_base64,
  bundle,
  text,
  bundle_without_sandbox,
  failures_under_other_log,
  right_times,
  cases,
  bytes,
} = vector;
const film = fromBase64(film_base64);
const name = "vidéo 🎬.mp4";

test.each([
  ["as an object", bundle],
  ["as text", text],
  ["as bytes", new TextEncoder().encode(text)],
])("a bundle is valid %s", async (_, given) => {
  const found = await verifyReceipt(given, { logKey: log_key });
  expect(found.failures).toEqual([]);
  expect([found.valid, found.minerSignatureValid, found.coordinatorAttestations]).toEqual([true, true, 2]);
  expect(found.statement?.jobId).toBe("job_01hzx");
});

test.each([
  ["with the API's names", bundle.receipt],
  ["with JavaScript's names", camelCased(bundle.receipt) as object],
])("a receipt is valid %s, with its results, proof and files", async (_, receipt) => {
  const { results, proof } = bundle;
  const hex = Buffer.from(await crypto.subtle.digest("SHA-256", film)).toString("hex");
  for (const file of [film, film.buffer, new Blob([film]), hex, `sha256:${hex}`]) {
    const artifacts = { [name]: file, [`sha256:${hex}`]: file };
    const found = await verifyReceipt(receipt, { logKey: log_key, results, proof, artifacts });
    expect([found.failures, found.valid]).toEqual([[], true]);
  }
});

test.each(Object.entries(right_times))("times are within the allowed skew: %s", async (_, given) => {
  const found = await verifyReceipt(given, { logKey: log_key });
  expect([found.valid, found.failures]).toEqual([true, []]);
});

test("reports files that differ from the signed ones", async () => {
  const artifacts = { [name]: new Blob(["another film"]), "other.mp4": film };
  const found = await verifyReceipt(bundle, { logKey: log_key, artifacts });
  expect(found.failures).toEqual([
    `artifact ${name}: SHA-256 differs from the signed statement.`,
    "artifact other.mp4: the signed statement has no such output.",
  ]);
  expect(() => found.throwForFailure()).toThrow("The receipt is not valid: artifact");
});

describe("changed bundles report the failed checks", () => {
  test.each(cases)("$name", async (changed) => {
    const found = await verifyReceipt(changed.bundle as object, { logKey: log_key });
    if (typeof changed.bundle === "object" && changed.bundle !== null && "format" in changed.bundle) {
      expect(found.failures).toEqual(changed.failures);
      expect(concluded(found)).toEqual(changed.conclusions);
      expect(found.checks.filter(({ ok }) => !ok).map(checkWords)).toEqual(changed.words);
      expect([found.minerSignatureValid, found.coordinatorAttestations]).toEqual([
        changed.miner_signature_valid,
        changed.coordinator_attestations,
      ]);
      const receipt = changed.bundle.receipt as object;
      const alone = await verifyReceipt(receipt, { logKey: log_key });
      expect(alone.failures).toEqual(changed.receipt_failures);
    }
    expect(found.valid).toBe(false);
  });

  test("for a change of any byte", async () => {
    const data = new TextEncoder().encode(text);
    for (const [index, failures] of bytes.failures.entries()) {
      const changed = data.slice();
      changed[index * bytes.step] = (data[index * bytes.step] ?? 0) ^ 1;
      const found = await verifyReceipt(changed, { logKey: log_key });
      const names = found.checks.filter(({ ok }) => !ok).map((check) => check.name);
      expect([index, names]).toEqual([index, failures ?? ["bundle"]]);
      if (failures === null) expect(() => parseJson(changed)).toThrow();
    }
  });
});

test("a statement of an older agent without a sandbox is valid", async () => {
  const found = await verifyReceipt(bundle_without_sandbox, { logKey: log_key });
  expect([found.valid, found.statement?.sandbox]).toEqual([true, null]);
  expect((await verifyReceipt(bundle, { logKey: log_key })).statement?.sandbox).toBe("bubblewrap");
});

/** Return the conclusions of a verification as the vectors have them, without the checks. */
function concluded(outcome: Verification): object[] {
  return conclusions(outcome).map(({ checks: _, ...conclusion }) => conclusion);
}

test("four sentences say what a receipt proves", async () => {
  const verified = await verifyReceipt(bundle, { logKey: log_key });
  expect(concluded(verified)).toEqual(vector.conclusions);
  expect(verified.checks.map(checkWords)).toEqual(vector.words);
  const alone = await verifyReceipt(bundle.receipt, { logKey: log_key });
  expect(concluded(alone)).toEqual(vector.conclusions_without_proof);
  const foreign = await verifyReceipt(bundle, { logKey: other_log_key });
  expect(concluded(foreign)).toEqual(vector.conclusions_under_other_log);
  expect([otherNetwork(foreign), otherNetwork(verified)]).toEqual([verified.statement?.origin, undefined]);
});

test("reports the key of another log", async () => {
  const found = await verifyReceipt(bundle, { logKey: other_log_key });
  expect(found.failures).toEqual(failures_under_other_log);
});

test.each(["video_transcoding", "ai_inference", "blender_rendering"])(
  "a receipt of version 0.1.0 is valid: %s",
  async (service) => {
    const old = vectors<{ log_key: string; bundles: Record<string, JsonObject> }>("receipts_0_1_0");
    const found = await verifyReceipt(old.bundles[service] as JsonObject, { logKey: old.log_key });
    expect(found.failures).toEqual([]);
    expect([found.valid, found.statement?.service]).toEqual([true, service]);
  },
);

test.each([null, 1, "x", "", [], {}, { envelope: {} }])("reports %j instead of throwing", async (junk) => {
  const found = await verifyReceipt(junk as object, { logKey: log_key });
  expect([found.valid, found.failures.length > 0]).toEqual([false, true]);
});

test("throws for a malformed log key", async () => {
  await expect(verifyReceipt(bundle, { logKey: "nonsense" })).rejects.toThrow("name+keyid+base64");
});

describe("policies", () => {
  const { witness_key } = vectors<{ witness_key: string }>("notes");

  test("require witnesses, whose cosignatures a bundle may lack", async () => {
    const policy = parsePolicy(`# mine\nlog ${log_key}\nwitness w ${witness_key}\ngroup g any w\nquorum g\n`);
    const found = await verifyReceipt(bundle, { logKey: policy });
    expect(found.failures).toEqual(["witnesses: cosigned by none, but the policy asks for g."]);
    const alone = await verifyReceipt(bundle.receipt, { logKey: policy });
    expect(alone.failures).toEqual([
      "witnesses: the policy asks for witnesses, which only a proof can show.",
    ]);
  });

  test.each([
    ["", "The policy names no log."],
    [`log ${log_key}`, "The policy has no quorum line"],
    [`log ${log_key}\nlog ${log_key}\nquorum none`, "Line 2 of the policy: the log"],
    [`log ${log_key}\nquorum w`, "Line 2 of the policy: w was not defined before."],
    [`log ${log_key}\nwitness w ${log_key}`, "is not the key of a witness"],
    [
      `log ${log_key}\nwitness w ${witness_key}\ngroup g 2 w`,
      "the threshold is `all`, `any`, or from 1 to 1.",
    ],
    ["log\u0000", "it has a control character"],
    ["nonsense", "it is not one of"],
  ])("%j is refused", (policy, message) => {
    expect(() => parsePolicy(policy)).toThrow(message);
  });
});
