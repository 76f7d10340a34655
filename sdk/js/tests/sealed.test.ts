/** Sealed jobs: both SDKs seal and open the same bytes, and refuse what was changed. */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { VerificationError } from "../src/errors.js";
import { AnswerOpener, requirePlain } from "../src/sealed/answer.js";
import { openFile, sealedSize, sealFile } from "../src/sealed/files.js";
import { type EncryptionKeyAnswer, ReplyKey, verifyEncryptionKey } from "../src/sealed/keys.js";
import type { SealedRequest } from "../src/sealed/memory.js";
import { directoryMemory } from "../src/sealed/memory_file.js";
import { RequestSealer } from "../src/sealed/request.js";
import { decrypt, deriveKey, openCapsule, padded, salted, unpadded } from "../src/sealed/suite.js";
import { verifySealed } from "../src/sealed/verification.js";
import { canonicalJson, sha256Hex } from "../src/verification/canonical.js";
import { Report } from "../src/verification/report.js";
import { camelCased, type Json, type JsonObject } from "../src/verification/shape.js";
import type { Statement } from "../src/verification/statement.js";
import { changed, fromBase64, fromHex, vectors } from "./vectors.js";

interface Vectors {
  miner: { private_key: string; answer: JsonObject };
  reply_key: { private_key: string; public_key: string };
  files: { size: number; key: string; sealed_size: number; sealed_sha256: string; sealed: string | null }[];
  request: {
    service: string;
    info: string;
    secret: string;
    plaintext: string;
    sealed: JsonObject;
    salted: Record<string, string>;
  };
  answer: {
    job_id: string;
    miner_id: string;
    request_id: string;
    results: JsonObject;
    plaintext: string;
    output: { sealed: string; size: number };
    events: { sealed: JsonObject; kind: string; data: JsonObject }[];
    log: { sealed: JsonObject; plaintext: JsonObject };
    salted: Record<string, string>;
  };
  memory: { names: string[]; record: JsonObject };
  foreign: { why: string; described: JsonObject; results: JsonObject }[];
}

const { miner, reply_key, files, request, answer, memory, foreign } = vectors<Vectors>("sealed");
const NOW = Date.parse("2026-12-01T00:00:00Z");
const own = () => ReplyKey.fromPrivate(fromBase64(reply_key.private_key));
const keyAnswer = camelCased(miner.answer) as EncryptionKeyAnswer & { minerId: string };
const job = { jobId: answer.job_id, minerId: answer.miner_id, requestId: answer.request_id };
const opener = async () => AnswerOpener.of(await own(), job);

/** The plaintext of a file: byte i is i modulo 251. */
const content = (size: number) => Uint8Array.from({ length: size }, (_, index) => index % 251);

async function* pieces(data: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < data.length; start += size) yield data.subarray(start, start + size);
}

async function all(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const found: Uint8Array[] = [];
  for await (const piece of stream) found.push(piece);
  return Buffer.concat(found);
}

const refused = (opened: Promise<unknown>) => expect(opened).rejects.toThrow(VerificationError);
const aes = (hex: string) =>
  crypto.subtle.importKey("raw", fromHex(hex), "AES-GCM", false, ["encrypt", "decrypt"]);

describe("the miner's key", () => {
  test("is accepted until it expires", () => {
    const key = verifyEncryptionKey(keyAnswer, keyAnswer.minerId, NOW);
    expect([key.keyId, key.expiresAt]).toEqual([miner.answer.key_id, miner.answer.expires_at]);
    const late = Date.parse(key.expiresAt);
    expect(() => verifyEncryptionKey(keyAnswer, key.minerId, late)).toThrow(/expired/);
  });

  test("of another miner is refused, and so is a changed one", () => {
    const other = `miner_${"a".repeat(26)}`;
    expect(() => verifyEncryptionKey(keyAnswer, other, NOW)).toThrow(VerificationError);
    const envelope = keyAnswer.envelope as { payload: string };
    for (const payload of changed(fromBase64(envelope.payload), 40)) {
      const forged = { ...envelope, payload: Buffer.from(payload).toString("base64") };
      const given = { ...keyAnswer, envelope: forged };
      expect(() => verifyEncryptionKey(given, keyAnswer.minerId, NOW)).toThrow(VerificationError);
    }
  });
});

describe("files", () => {
  test.each(files)("of $size bytes have the same sealed form", async ({ size, key, ...expected }) => {
    for (const step of [size || 1, 1000, 65_536]) {
      const sealed = await all(sealFile(await aes(key), pieces(content(size), step)));
      expect([sealed.length, sha256Hex(sealed)]).toEqual([expected.sealed_size, expected.sealed_sha256]);
      expect(sealedSize(size)).toBe(sealed.length);
      expect((await all(openFile(await aes(key), pieces(sealed, step)))).equals(content(size))).toBe(true);
    }
  });

  test("that were cut, extended, reordered or changed do not open", async () => {
    const { size, key } = files.at(-1) as Vectors["files"][0];
    const [aesKey, whole] = [await aes(key), 65_536 + 16];
    const sealed = await all(sealFile(aesKey, pieces(content(size), size)));
    const [first, second] = [sealed.subarray(0, whole), sealed.subarray(whole, 2 * whole)];
    const rest = sealed.subarray(2 * whole);
    const broken = [
      sealed.subarray(0, 2 * whole),
      sealed.subarray(0, -1),
      Buffer.concat([sealed, Buffer.alloc(16)]),
      Buffer.concat([second, first, rest]),
      Buffer.concat([first, first, second, rest]),
      Buffer.alloc(0),
    ];
    for (const bytes of broken) await refused(all(openFile(aesKey, pieces(bytes, 10_000))));
    for (const position of [0, whole - 1, whole, sealed.length - 1]) {
      const bytes = Buffer.from(sealed);
      bytes[position] = (bytes[position] ?? 0) ^ 1;
      await refused(all(openFile(aesKey, pieces(bytes, 10_000))));
    }
  });
});

describe("the request", () => {
  const { sealed } = request;
  const sealer = async () =>
    RequestSealer.of(
      verifyEncryptionKey(keyAnswer, keyAnswer.minerId, NOW),
      await own(),
      { service: request.service, model: String(sealed.model) },
      fromHex(String(sealed.request_id)),
    );

  test("has the secret that only the client can compute again", async () => {
    expect(Buffer.from((await own()).publicKey).toString("base64")).toBe(reply_key.public_key);
    expect(Buffer.from((await sealer()).secret).toString("hex")).toBe(request.secret);
    const stored = await ReplyKey.generate();
    const secret = await stored.requestSecret(fromHex(String(sealed.request_id)));
    expect(secret).toEqual(await (await ReplyKey.of(stored.pair)).requestSecret(fromHex(answer.request_id)));
    await expect(stored.exportPrivate()).rejects.toThrow();
  });

  test("has the same ciphertext, and a capsule that the miner opens for this job only", async () => {
    const { parameters, files: list } = unpadded(Buffer.from(request.plaintext)) as {
      parameters: JsonObject;
      files: JsonObject[];
    };
    const made = await sealer();
    const body = await made.seal(parameters, camelCased(list) as never);
    expect({ ...body, capsule: null }).toEqual({ ...sealed, capsule: null });
    expect(Buffer.from(canonicalJson(made.info())).toString()).toBe(request.info);
    const pair = (await ReplyKey.fromPrivate(fromBase64(miner.private_key))).pair;
    for (const capsule of [body.capsule, sealed.capsule]) {
      const opened = await openCapsule(pair, made.info(), fromBase64(String(capsule)));
      expect(Buffer.from(opened).toString("hex")).toBe(request.secret);
      for (const name of Object.keys(made.info())) {
        const other = { ...made.info(), [name]: "another" };
        await refused(openCapsule(pair, other, fromBase64(String(capsule))));
      }
    }
  });

  test("opens with the keys of its secret, and its digests are salted", async () => {
    const secret = fromHex(request.secret);
    const key = await deriveKey(secret, "request");
    const plaintext = await decrypt(key, fromBase64(String(sealed.ciphertext)));
    expect(Buffer.from(plaintext).toString()).toBe(request.plaintext);
    expect(await salted(secret, "request", plaintext)).toBe(request.salted.request);
    expect(await (await opener()).digest("input:0", pieces(content(1000), 7))).toBe(
      request.salted["input:0"],
    );
  });

  test("pads texts, so that their length is not seen", () => {
    for (const [value, size] of [
      [{}, 256],
      [{ a: "x".repeat(248) }, 256],
      [{ a: "x".repeat(249) }, 512],
    ] as const) {
      expect(padded(value).length).toBe(size);
      expect(unpadded(padded(value))).toEqual(value);
    }
  });
});

describe("the answer", () => {
  test("opens to results with the signed digest", async () => {
    const opened = await (await opener()).results(answer.results);
    expect(opened.results).toEqual((unpadded(Buffer.from(answer.plaintext)) as { results: Json }).results);
    expect([opened.digest, opened.fence]).toEqual([answer.salted.results, "4"]);
  });

  test("has output files that are those of the results", async () => {
    const one = await opener();
    const { sealed, size } = answer.output;
    const plain = await all(one.file(answer.results, 0, pieces(fromBase64(sealed), 100)));
    expect(plain).toEqual(Buffer.from(content(size)));
    expect(await one.digest("output:0", pieces(plain, 99))).toBe(answer.salted["output:0"]);
    const [described] = (await one.results(answer.results)).files;
    const found = { size: plain.length, sha256: sha256Hex(plain) };
    requirePlain(described ?? found, found);
    expect(() => requirePlain(found, { ...found, size: 1 })).toThrow(VerificationError);
    await refused(all(one.file(answer.results, 1, pieces(fromBase64(sealed), 100))));
  });

  test("has events that cannot be moved, and count once", async () => {
    const one = await opener();
    const [first, second] = answer.events as [Vectors["answer"]["events"][0], Vectors["answer"]["events"][0]];
    expect(await one.event(first.sealed)).toEqual({ kind: first.kind, data: first.data });
    await refused(one.event({ ...second.sealed, n: 7 }));
    expect(await one.event(second.sealed)).toEqual({ kind: second.kind, data: second.data });
    expect(await one.event(first.sealed)).toBeUndefined();
    one.restart();
    expect(await one.event(first.sealed)).toEqual({ kind: first.kind, data: first.data });
  });

  test("has a log", async () => {
    const log = await (await opener()).log(JSON.stringify(answer.log.sealed));
    expect(log).toEqual(answer.log.plaintext);
  });

  test("does not open for another job, key or run, or in clear", async () => {
    const others = [
      { jobId: "job_other" },
      { minerId: `miner_${"a".repeat(26)}` },
      { requestId: "0".repeat(32) },
    ];
    for (const other of others) {
      await refused((await AnswerOpener.of(await own(), { ...job, ...other })).results(answer.results));
    }
    await refused((await AnswerOpener.of(await ReplyKey.generate(), job)).results(answer.results));
    const sealed = answer.results.sealed as JsonObject;
    for (const other of [
      { fence: "5" },
      { spec_digest: "0".repeat(64) },
      { capsule: request.sealed.capsule ?? "" },
    ]) {
      await refused((await opener()).results({ sealed: { ...sealed, ...other } }));
    }
    await refused((await opener()).results({ text: "Hello" }));
  });

  test.each(foreign)(
    "opens as the coordinator describes it, but not as the client remembers: $why",
    async (item) => {
      const described = camelCased(item.described) as unknown as typeof job;
      const opened = await (await AnswerOpener.of(await own(), described)).results(item.results);
      expect(opened.results).toEqual({ text: "Forged" });
      await refused((await opener()).results(item.results));
    },
  );

  test("is recorded in a file that both SDKs read", async () => {
    const folder = mkdtempSync(join(tmpdir(), "memory-"));
    const { minerId, requestId, replyKey } = camelCased(memory.record) as unknown as SealedRequest;
    for (const name of memory.names) {
      await (await directoryMemory(folder)).add(name, { minerId, requestId, replyKey });
      expect(JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8"))).toEqual(memory.record);
      expect(await (await directoryMemory(folder)).get(name)).toEqual({ minerId, requestId, replyKey });
    }
    rmSync(folder, { recursive: true });
  });

  test("does not open when a byte of its ciphertext was changed", async () => {
    const sealed = answer.results.sealed as JsonObject;
    const one = await opener();
    for (const bytes of changed(fromBase64(String(sealed.ciphertext)), 20)) {
      const ciphertext = Buffer.from(bytes).toString("base64");
      await refused(one.results({ sealed: { ...sealed, ciphertext } }));
    }
  });
});

describe("the receipt of a sealed job", () => {
  const [file] = answer.results.files as unknown as { artifact_id: string }[];
  const output = fromBase64(answer.output.sealed);
  const statement = {
    jobId: answer.job_id,
    minerId: answer.miner_id,
    fence: "4",
    specDigest: (answer.results.sealed as JsonObject).spec_digest,
    subject: [
      { name: "result.json" },
      { name: "0.sealed", sha256: file?.artifact_id.slice("sha256:".length) },
    ],
    sealed: {
      requestId: answer.request_id,
      digests: { results: answer.salted.results, outputs: [answer.salted["output:0"]] },
    },
  };
  let recorded: SealedRequest | undefined;
  const sealingMemory = {
    get: async () => recorded,
    add: async (_: string, request: SealedRequest) => request,
  };
  const failures = async (
    changes: object,
    results: Json = answer.results,
    key?: ReplyKey,
    bytes = output,
  ) => {
    const report = new Report();
    report.statement = { ...statement, ...changes } as unknown as Statement;
    const replyKey = key ?? (await own());
    await verifySealed(report, { replyKey, sealingMemory }, results, { [file?.artifact_id ?? ""]: bytes });
    return { failed: report.checks.filter(({ ok }) => !ok).map(({ name }) => name), report };
  };

  test("verifies the opened results and files", async () => {
    const { failed, report } = await failures({});
    expect(failed).toEqual([]);
    expect(report.checks.map(({ name }) => name)).toEqual([
      "sealed request",
      "sealed results",
      `sealed artifact ${file?.artifact_id}`,
    ]);
    expect(report.opened?.text).toBe("Hello");
  });

  test("is not about a request that this client sealed to another miner, or about another request", async () => {
    const request = {
      minerId: answer.miner_id,
      requestId: answer.request_id,
      replyKey: reply_key.public_key,
    };
    recorded = request;
    const { failed, report } = await failures({});
    expect([failed, report.checks[0]?.message]).toEqual([[], "is the one that this client sealed"]);
    for (const change of [{ minerId: `miner_${"a".repeat(26)}` }, { requestId: "0".repeat(32) }]) {
      recorded = { ...request, ...change };
      expect((await failures({})).failed).toContain("sealed request");
    }
    recorded = undefined;
  });

  test("fails for other digests, runs, keys, files and jobs", async () => {
    const { sealed } = statement;
    const wrong = "0".repeat(64);
    const digests = (changes: object) => ({
      sealed: { ...sealed, digests: { ...sealed.digests, ...changes } },
    });
    expect((await failures(digests({ results: wrong }))).failed).toEqual(["sealed results"]);
    expect((await failures(digests({ outputs: [wrong] }))).failed).toEqual([
      `sealed artifact ${file?.artifact_id}`,
    ]);
    expect((await failures({ fence: "5" })).failed).toEqual(["sealed results"]);
    expect((await failures({}, answer.results, await ReplyKey.generate())).failed).toEqual([
      "sealed results",
    ]);
    expect((await failures({ sealed: null })).failed).toEqual(["sealed"]);
    expect((await failures({}, { text: "Hello" })).failed).toEqual(["sealed results"]);
    const other = output.map((byte, index) => (index === 9 ? byte ^ 1 : byte));
    expect((await failures({}, answer.results, undefined, other)).failed).toEqual([
      `sealed artifact ${file?.artifact_id}`,
    ]);
  });
});
