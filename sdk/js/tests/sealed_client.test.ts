/** Sealed jobs through the client: what leaves it is sealed, and what comes back is opened or refused. */

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import {
  AITBCClient,
  ConfigurationError,
  FormatError,
  readReplyKey,
  VerificationError,
} from "../src/index.js";
import { openFile } from "../src/sealed/files.js";
import { ReplyKey } from "../src/sealed/keys.js";
import { decrypt, deriveKey, openCapsule, unpadded } from "../src/sealed/suite.js";
import { sha256Hex } from "../src/verification/canonical.js";
import type { JsonObject } from "../src/verification/shape.js";
import { type Reply, type Seen, StandIn } from "./stand_in.js";
import { fromBase64, fromHex, vectors } from "./vectors.js";

const { miner, reply_key, answer } = vectors<{
  miner: { private_key: string; answer: JsonObject };
  reply_key: { private_key: string; public_key: string };
  answer: {
    job_id: string;
    miner_id: string;
    request_id: string;
    results: { sealed: JsonObject; files: { artifact_id: string }[] };
    plaintext: string;
    output: { sealed: string };
    events: { sealed: JsonObject; data: JsonObject }[];
    log: { sealed: JsonObject };
  };
}>("sealed");
const minerId = String(miner.answer.miner_id);
const jobId = answer.job_id;
const server = new StandIn();
const folder = mkdtempSync(join(tmpdir(), "sealed-"));
let baseUrl = "";
let client: AITBCClient;

beforeAll(async () => {
  baseUrl = await server.start();
});
beforeEach(async () => {
  vi.stubEnv("AITBC_CONFIG_DIR", mkdtempSync(join(folder, "config-")));
  server.seen.length = 0;
  server.replies = [];
  const replyKey = await ReplyKey.fromPrivate(fromBase64(reply_key.private_key));
  client = new AITBCClient({ baseUrl, apiKey: "key", replyKey });
});
afterAll(() => {
  vi.unstubAllEnvs();
  server.close();
  rmSync(folder, { recursive: true });
});

/** The body of an upload comes as text, which damages it; this reply stores its bytes. */
function storing(stored: Buffer[]): Reply {
  return (response, request) => {
    stored.push(Buffer.from(request.body, "latin1"));
    const artifact = { artifact_id: `sha256:${sha256Hex(stored.at(-1) ?? Buffer.alloc(0))}` };
    response.writeHead(201, { "Content-Type": "application/json" });
    response.end(JSON.stringify({ ...artifact, size: request.body.length, media_type: "any" }));
  };
}
const created: Reply = { status: 201, json: { job_id: jobId, status: "submitted" } };
const details = (changes: JsonObject = {}): Reply => ({
  json: {
    job_id: jobId,
    miner_id: minerId,
    status: "completed",
    sealed: { request_id: answer.request_id, reply_key: reply_key.public_key },
    ...changes,
  },
});
const results: Reply = { json: { job_id: jobId, status: "completed", results: answer.results as never } };
const bodyOf = (seen: Seen | undefined) =>
  JSON.parse(seen?.body ?? "") as JsonObject & { sealed: JsonObject };

async function opened(body: JsonObject & { sealed: JsonObject }, service: string) {
  const { version: _, capsule, ciphertext, files: __, ...bound } = body.sealed;
  const info = { ...bound, type: "https://aitbc.bubuit.net/sealed-request/v1", miner_id: minerId, service };
  const { pair } = await ReplyKey.fromPrivate(fromBase64(miner.private_key));
  const secret = await openCapsule(pair, info, fromBase64(String(capsule)));
  const plain = await decrypt(await deriveKey(secret, "request"), fromBase64(String(ciphertext)));
  return { secret, request: unpadded(plain) as { parameters: JsonObject; files: JsonObject[] } };
}

describe("creating", () => {
  test("sends no input in clear, and the miner opens all of it", async () => {
    const stored: Buffer[] = [];
    server.replies = [{ json: miner.answer }, storing(stored), created];
    const speech = new File([Buffer.alloc(100_000, "what was said ")], "secret talk.wav", {
      type: "audio/wav",
    });
    const progress: string[] = [];
    const job = await client.jobs.create(
      {
        type: "whisper-transcription",
        minerId,
        seal: true,
        parameters: { language: "en", model: "tiny.en" },
      },
      {
        files: { audio_url: speech },
        onProgress: (field, done, total) => progress.push(`${field} ${done}/${total}`),
      },
    );
    expect(job.jobId).toBe(jobId);
    const sent = server.seen
      .map(({ path, body, headers }) => path + JSON.stringify(headers) + body)
      .join("\n");
    for (const word of ["secret", "talk", "was said", '"en"', 'seal"']) expect(sent).not.toContain(word);
    const body = bodyOf(server.seen.at(-1));
    expect([body.type, body.miner_id, body.sealed.model]).toEqual([
      "whisper-transcription",
      minerId,
      "tiny.en",
    ]);
    const { secret, request } = await opened(body, "whisper_transcription");
    const [artifact] = body.sealed.files as string[];
    expect(request.parameters).toEqual({ audio_url: artifact, language: "en", model: "tiny.en" });
    expect(request.files).toEqual([
      {
        field: "audio_url",
        artifact_id: artifact?.slice("artifact:".length),
        size: 100_000,
        media_type: "audio/wav",
        name: "secret talk.wav",
      },
    ]);
    const plain: Uint8Array[] = [];
    const pieces = (async function* () {
      yield stored[0] as Uint8Array;
    })();
    for await (const piece of openFile(await deriveKey(secret, "input:0"), pieces)) plain.push(piece);
    expect(Buffer.concat(plain).equals(Buffer.from(await speech.arrayBuffer()))).toBe(true);
    expect(progress.at(-1)).toBe("audio_url 100032/100032");
  });

  test("puts a Python model's program and input into its fields", async () => {
    const stored: Buffer[] = [];
    server.replies = [{ json: miner.answer }, storing(stored), storing(stored), created];
    const program = new File(["def predict(input): ..."], "classify.py");
    const input = new File(["1,2"], "numbers.csv");
    await client.services.run(program, { input, minerId, seal: true, name: "A name in clear" });
    const body = bodyOf(server.seen.at(-1));
    expect([body.name, body.model, body.sealed.model]).toEqual(["A name in clear", undefined, null]);
    const { request } = await opened(body, "ai_inference");
    const [first, second] = body.sealed.files as string[];
    expect(request.parameters).toMatchObject({
      model: { entrypoint: "classify.py", source: first },
      input: { format: "csv", source: second },
    });
    expect(request.files.map(({ field }) => field)).toEqual(["model.source", "input.source"]);
  });

  test("takes the miner of an offer, and names adapters", async () => {
    const offers = [{ offer_id: "offer_1", miner_id: minerId }];
    server.replies = [{ json: { offers } }, { json: miner.answer }, created];
    const loras = [{ name: "sketch", weight: 1 }];
    await client.services.generate("A secret", { model: "sd", offerId: "offer_1", seal: true, loras });
    const body = bodyOf(server.seen.at(-1));
    expect([body.offer_id, body.miner_id]).toEqual(["offer_1", undefined]);
    expect(body.sealed.adapters).toEqual(["sketch"]);
    expect((await opened(body, "image_generation")).request.parameters.prompt).toBe("A secret");
  });

  test("is refused without a miner, a key or the file itself, before anything is sent", async () => {
    await expect(client.services.infer("A secret", { seal: true })).rejects.toThrow(/minerId/);
    const address = client.services.transcribe("https://example.com/a.wav", { minerId, seal: true });
    await expect(address).rejects.toThrow(FormatError);
    const failing = async () => Promise.reject(new ConfigurationError("No key."));
    const other = new AITBCClient({ baseUrl, apiKey: "key", replyKey: failing });
    await expect(other.services.infer("A secret", { minerId, seal: true })).rejects.toThrow(
      ConfigurationError,
    );
    expect(server.seen).toEqual([]);
  });

  test("refuses a key that the coordinator exchanged", async () => {
    server.replies = [{ json: { ...miner.answer, identity_key: reply_key.public_key } }];
    const attempt = client.services.infer("A secret", { minerId, seal: true });
    await expect(attempt).rejects.toThrow(/another miner/);
    expect(server.seen.map(({ method }) => method)).toEqual(["GET"]);
  });
});

describe("reading", () => {
  const plain = unpadded(Buffer.from(answer.plaintext)).results;

  test("opens results, or returns them as they are", async () => {
    server.replies = [results, details(), results];
    expect((await client.jobs.getResults(jobId)).results).toEqual(plain);
    expect((await client.jobs.getResults(jobId, { opened: false })).results).toEqual(answer.results);
  });

  test("refuses results in clear of a job that was sealed", async () => {
    const clear: Reply = { json: { job_id: jobId, status: "completed", results: { text: "Hello" } } };
    server.replies = [{ json: miner.answer }, created, clear, details()];
    await client.services.infer("A secret", { minerId, seal: true });
    await expect(client.jobs.getResults(jobId)).rejects.toThrow(/not sealed/);
  });

  test("says so if another key is needed", async () => {
    server.replies = [results, details({ sealed: { request_id: answer.request_id, reply_key: "other" } })];
    await expect(client.jobs.getResults(jobId)).rejects.toThrow(/another key/);
  });

  test("opens events once, also if they are repeated", async () => {
    const event = (number: number) =>
      `event: job_event\ndata: ${JSON.stringify({ kind: "sealed", ...answer.events[number]?.sealed })}\n\n`;
    const resync = "event: resync\ndata: {}\n\n";
    const end = 'event: job_update\ndata: {"job_id":"j","status":"completed"}\n\n';
    server.replies = [
      (response) => {
        response.writeHead(200, { "Content-Type": "text/event-stream" });
        response.end([event(0), event(1), event(1), resync, event(0), end].join(""));
      },
      details(),
    ];
    const seen: unknown[] = [];
    for await (const { kind, data } of client.jobs.events(jobId))
      seen.push(kind === "segment" ? data.text : kind);
    expect(seen).toEqual(["Hel", "lo", "resync", "Hel", "job_update"]);
  });

  test("opens the log and says why a run failed", async () => {
    const text = JSON.stringify(answer.log.sealed);
    const line = { time: "2026-12-01T00:00:00Z", attempt: 1, source: "sealed" };
    const entries = [
      { ...line, text: text.slice(0, 100) },
      { ...line, text: text.slice(100) },
    ];
    server.replies = [{ json: { job_id: jobId, entries, truncated: false } }, details()];
    const log = await client.jobs.log(jobId);
    expect(log.entries).toEqual([
      { time: "1970-01-01T00:00:01.500Z", attempt: 1, source: "runner", text: "one line" },
    ]);
  });

  test("opens output files, into memory, a stream or a file, and no other bytes", async () => {
    const [file] = answer.results.files;
    const artifactId = file?.artifact_id ?? "";
    const sealed = fromBase64(answer.output.sealed);
    const bytes =
      (content: Uint8Array): Reply =>
      (response) => {
        response.writeHead(200, {
          "Content-Type": "application/vnd.aitbc.sealed",
          "Content-Length": content.length,
        });
        response.end(content);
      };
    const direct: Reply = { json: { direct: false } };
    const download = (content = sealed) => [details(), results, details(), bytes(content)];
    const expected = Uint8Array.from({ length: 1000 }, (_, index) => index % 251);
    server.replies = [details(), results, details(), direct, bytes(sealed)];
    const blob = await client.jobs.blob(jobId, artifactId);
    expect(blob.type).toBe("text/vtt");
    expect(new Uint8Array(await blob.arrayBuffer())).toEqual(expected);
    const path = join(folder, "talk.vtt");
    server.replies = download();
    await client.jobs.download(jobId, artifactId, path);
    expect(new Uint8Array(readFileSync(path))).toEqual(expected);
    server.replies = download(sealed.map((byte, index) => (index === 500 ? byte ^ 1 : byte)));
    const other = join(folder, "other.vtt");
    await expect(client.jobs.download(jobId, artifactId, other)).rejects.toThrow(VerificationError);
    expect(() => statSync(other)).toThrow();
    expect(() => statSync(`${other}.part`)).toThrow();
  });
});

describe("the client's key in a file", () => {
  test("is created once, for its owner only", async () => {
    const path = join(folder, "keys", "sealing.json");
    const [first, second] = await Promise.all([readReplyKey(path), readReplyKey(path)]);
    expect(first.publicKey).toEqual(second.publicKey);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const id = fromHex(answer.request_id);
    expect(await first.requestSecret(id)).toEqual(await (await readReplyKey(path)).requestSecret(id));
    vi.stubEnv("AITBC_CONFIG_DIR", join(folder, "keys"));
    expect((await readReplyKey()).publicKey).toEqual(first.publicKey);
    server.replies = [{ json: miner.answer }, created];
    await new AITBCClient({ baseUrl, apiKey: "key" }).services.infer("A secret", { minerId, seal: true });
    expect(bodyOf(server.seen.at(-1)).sealed.reply_key).toBe(Buffer.from(first.publicKey).toString("base64"));
    writeFileSync(path, "{}");
    await expect(readReplyKey(path)).rejects.toThrow(path);
  });
});
