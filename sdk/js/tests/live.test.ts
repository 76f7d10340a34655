/** The SDK with a real agent: coordinator, miner, FFmpeg and a language model. */

import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { createReadStream, existsSync, mkdtempSync, openAsBlob, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import {
  coordinatorLog,
  outputFiles,
  Policy,
  type StreamEvent,
  verifyLog,
  verifyReceipt,
} from "../src/index.js";
import { clientOf, inlineProgram, isLive, minerId } from "./live.js";
import { FailingProxy } from "./stand_in.js";

const folder = mkdtempSync(join(tmpdir(), "aitbc-"));
const proxies: FailingProxy[] = [];

afterEach(() => {
  for (const proxy of proxies.splice(0)) proxy.close();
});

/** Return a client whose connections break after the given numbers of bytes. */
async function failing(direction: "up" | "down", ...breaks: number[]) {
  const { baseUrl } = clientOf();
  const proxy = new FailingProxy(baseUrl, direction, ...breaks);
  proxies.push(proxy);
  return { proxy, client: clientOf("client", await proxy.start()) };
}

/** A job that waits for its file, and therefore does not start. */
const WAITING = {
  type: "ai-inference",
  model: { type: "python", entrypoint: "model.py" },
  pricing: { maxCost: "0.01" },
};

describe.skipIf(!isLive)("a transcoding job", () => {
  const client = clientOf();

  test("completes, and its receipt verifies", async () => {
    const film = join(folder, "in.mp4");
    execFileSync("ffmpeg", ["-v", "error", "-f", "lavfi", "-i", "testsrc=d=1:s=160x120:r=10", film]);
    const job = await client.services.transcode(film, {
      codec: "h264",
      resolution: "80x60",
      outputFormat: "mp4",
      pricing: { maxCost: "0.5" },
    });
    const seen = new Set<string>();
    for await (const { job: state } of client.jobs.events(job.jobId)) if (state) seen.add(state.status);
    expect([...seen].at(-1)).toBe("completed");
    expect((await client.jobs.wait(job.jobId)).progress).toBe(100);
    const { results } = await client.jobs.getResults(job.jobId);
    expect(results).toMatchObject({ width: 80, height: 60, codec: "h264" });
    const [file] = outputFiles(results);
    if (file === undefined) throw new Error("there is no file");

    const path = join(folder, "out.mp4");
    await client.artifacts.download(file.artifactId, path);
    expect(readFileSync(path).length).toBe(file.size);
    const blob = await client.artifacts.blob(file.artifactId);
    expect([blob.type, blob.size]).toEqual(["video/mp4", file.size]);
    const link = await client.artifacts.link(file.artifactId, { seconds: 60 });
    expect((await (await fetch(link.url)).blob()).size).toBe(file.size);

    const { logKey } = await client.health();
    const bundle = await client.receipts.export(job.jobId);
    const artifacts = { [file.name]: await openAsBlob(path) };
    const found = await verifyReceipt(JSON.stringify(bundle), { logKey, artifacts });
    expect([found.failures, found.valid]).toEqual([[], true]);
    const tampered = structuredClone(bundle);
    tampered.results.width = 81;
    expect((await verifyReceipt(tampered, { logKey })).failures).toEqual([
      "results: SHA-256 differs from the signed statement.",
    ]);
    const receipt = await client.receipts.get(job.jobId);
    expect((await verifyReceipt(receipt, { logKey })).valid).toBe(true);
    expect(await client.receipts.verify(receipt)).toMatchObject({ valid: true, coordinatorAttestations: 2 });
    const { receiptId, signature } = receipt;
    expect((await client.receipts.verify({ receiptId, signature })).valid).toBe(true);
  });

  test("verifies the whole log, and that it extends an earlier checkpoint", async () => {
    const { logKey } = await client.health();
    const source = coordinatorLog(client.log);
    const before = await verifyLog(source, Policy.ofLog(logKey));
    expect([before.failures, before.valid, before.receipts > 0]).toEqual([[], true, true]);
    const { checkpoint } = before;
    if (checkpoint === undefined) throw new Error("there is no checkpoint");
    const after = await verifyLog(source, Policy.ofLog(logKey), { previous: { yesterday: checkpoint } });
    expect(after.failures).toEqual([]);
    const forked = { ...checkpoint, root: new Uint8Array(32) };
    const { failures } = await verifyLog(source, Policy.ofLog(logKey), { previous: { yesterday: forked } });
    expect(failures).toEqual([expect.stringContaining("yesterday: the log was forked")]);
  });
});

describe.skipIf(!isLive)("uploads", () => {
  const data = randomBytes(20 * 2 ** 20 + 17);
  const artifactId = `sha256:${createHash("sha256").update(data).digest("hex")}`;

  test.each([
    ["a path", async (path: string) => path],
    ["a blob", async (path: string) => openAsBlob(path)],
    ["a Node stream", async (path: string) => createReadStream(path)],
    ["a web stream", async (path: string) => (await openAsBlob(path)).stream()],
  ])("of %s resume after a lost connection", async (_, open) => {
    const path = join(folder, "film.mp4");
    if (!existsSync(path)) writeFileSync(path, data);
    const { proxy, client } = await failing("up", 5_000_000, 18_000_000);
    const sent: number[] = [];
    const artifact = await client.artifacts.upload(await open(path), {
      mediaType: "video/mp4",
      onProgress: (done) => sent.push(done),
    });
    expect(artifact).toEqual({ artifactId, size: data.length, mediaType: "video/mp4" });
    expect(proxy.broken).toBeGreaterThan(0);
    expect(sent.at(-1)).toBe(data.length);
    // Bytes that had arrived are not sent again.
    const restarts = sent.filter((position, index) => index > 0 && position < (sent[index - 1] ?? 0));
    expect(Math.min(...restarts, data.length)).toBeGreaterThan(1_000_000);
  });

  test("and downloads resume after a lost connection", async () => {
    const { proxy, client } = await failing("down", 3_000_000, 9_000_000);
    const path = join(folder, "copy.mp4");
    await client.artifacts.download(artifactId, path);
    expect([proxy.broken, readFileSync(path).equals(data), existsSync(`${path}.part`)]).toEqual([
      2,
      true,
      false,
    ]);
    const pieces: Uint8Array[] = [];
    const stream = new WritableStream<Uint8Array>({ write: (piece) => void pieces.push(piece) });
    await clientOf().artifacts.download(artifactId, stream);
    expect(Buffer.concat(pieces).equals(data)).toBe(true);
  });

  test.each([
    ["of the same file", 0.4, undefined],
    ["of another file", 0.4, 7],
    ["that is too long", 1.5, undefined],
  ])("downloads complete a partial file %s", async (_, share, other) => {
    const path = join(folder, "rest.mp4");
    const left = Buffer.alloc(Math.floor(data.length * share), other ?? 0);
    if (other === undefined) data.copy(left);
    writeFileSync(`${path}.part`, left);
    await clientOf().artifacts.download(artifactId, path);
    expect(readFileSync(path).equals(data)).toBe(true);
  });

  test("and downloads can be aborted", async () => {
    const controller = new AbortController();
    const options = {
      signal: controller.signal,
      onProgress: (done: number) => {
        if (done > 0) controller.abort();
      },
    };
    const other = new Blob([randomBytes(9 * 2 ** 20)]);
    await expect(clientOf().artifacts.upload(other, options)).rejects.toMatchObject({ name: "AbortError" });
    await expect(clientOf().artifacts.blob(artifactId, options)).rejects.toMatchObject({
      name: "AbortError",
    });
  });
});

describe.skipIf(!isLive)("events", () => {
  const client = clientOf();

  test("arrive once each and in order, also across lost connections", async () => {
    const { proxy, client: listener } = await failing("down");
    const controller = new AbortController();
    const received: { jobId: string; status: string; seq: number }[] = [];
    let wake = () => {};
    const activity = () =>
      new Promise<void>((resolve) => {
        wake = resolve;
      });
    const opened = activity();
    const listening = (async () => {
      const options = { types: ["job_update"] as const, signal: controller.signal, onOpen: () => wake() };
      for await (const { type, data, seq } of listener.events(options)) {
        if (type === "job_update") received.push({ jobId: data.jobId, status: data.status, seq });
        wake();
      }
    })();
    await opened;
    const jobIds: string[] = [];
    for (let number = 0; number < 4; number++) {
      // The events of every second job happen while there is no connection.
      if (number % 2 === 1) proxy.breakAll();
      const { jobId } = await client.jobs.create(WAITING);
      jobIds.push(jobId);
      await client.jobs.cancel(jobId);
      while (!received.some((event) => event.jobId === jobId && event.status === "cancelled"))
        await activity();
    }
    controller.abort("enough");
    await expect(listening).rejects.toBe("enough");
    const own = received.filter(({ jobId }) => jobIds.includes(jobId));
    expect(own.map(({ jobId, status }) => [jobId, status])).toEqual(
      jobIds.flatMap((jobId) => [
        [jobId, "submitted"],
        [jobId, "cancelled"],
      ]),
    );
    const seqs = received.map(({ seq }) => seq);
    expect(seqs).toEqual([...new Set(seqs)].sort((one, other) => one - other));
    expect(proxy.connections).toBe(3);
  });

  test("after a given position are replayed", async () => {
    const { jobId } = await client.jobs.create(WAITING);
    await client.jobs.cancel(jobId);
    const events: StreamEvent[] = [];
    for await (const event of client.events({ after: 0, jobIds: [jobId] })) {
      events.push(event);
      if (event.type === "job_update" && event.data.status === "cancelled") break;
    }
    const states = events.map((event) => event.type === "job_update" && event.data.status);
    expect(states.filter(Boolean)).toEqual(["submitted", "cancelled"]);
  });

  test("end with the signal's reason, also while idle", async () => {
    const controller = new AbortController();
    const events = client.events({
      jobIds: ["job_0"],
      signal: controller.signal,
      onOpen: () => controller.abort("enough"),
    });
    await expect(events.next()).rejects.toBe("enough");
  });

  test("are refused for an unknown key", async () => {
    const { AITBCClient } = await import("../src/index.js");
    const stranger = new AITBCClient({
      baseUrl: client.baseUrl,
      apiKey: "aitbc_client_nonsense",
      retries: 0,
    });
    await expect(stranger.events().next()).rejects.toMatchObject({ name: "Unauthorized" });
  });

  test("of one job resume after a lost connection", async () => {
    const { proxy, client: listener } = await failing("down");
    const { jobId } = await client.jobs.create(WAITING);
    const states: string[] = [];
    for await (const { job } of listener.jobs.events(jobId)) {
      states.push(job?.status ?? "");
      if (states.length === 1) {
        proxy.breakAll();
        await client.jobs.cancel(jobId);
      }
    }
    expect([states.at(0), states.at(-1), proxy.broken]).toEqual(["submitted", "cancelled", 1]);
  });
});

describe.skipIf(!isLive)("services", () => {
  const client = clientOf();

  test("streams a text while it is written", async () => {
    const options = { model: "smollm2-135m-instruct", maxTokens: 12, temperature: 0 };
    const stream = await client.services.stream("Name the capital of France.", options);
    const pieces: string[] = [];
    for await (const piece of stream) pieces.push(piece);
    expect(pieces.length).toBeGreaterThan(1);
    expect(pieces.join("")).toBe(stream.results?.results.text);
    expect(pieces.join("")).toContain("Paris");
    const messages = [{ role: "user", content: "Say hello." }] as const;
    const again = await client.services.infer({ ...options, messages, waitSeconds: 60 });
    expect(again).toMatchObject({ status: "completed", serviceId: "llm_inference" });
    expect(again.results?.usage).toMatchObject({ total_tokens: expect.any(Number) });
  });

  test("runs a program on its input, with parameters", async () => {
    const source =
      "def predict(input, **parameters):\n    return {'size': len(open(input).read()), **parameters}\n";
    const job = await client.services.run(new File([source], "count.py"), {
      input: new File(["hello"], "words.txt"),
      parameters: { some_word: "x", someWord: 1 },
      name: "counting",
    });
    await client.jobs.wait(job.jobId, { timeoutMs: 60_000 });
    const { results } = await client.jobs.getResults(job.jobId);
    expect(results).toMatchObject({ size: 5, some_word: "x", someWord: 1 });
    const { jobs } = await client.jobs.list({ type: "ai-inference", status: "completed", limit: 5 });
    expect(jobs.map(({ name }) => name)).toContain("counting");
  });

  test("labels, finds, repeats and deletes a job", async () => {
    const labels = { "some-key": "a_b", other_key: "c" };
    const source = "def predict(input, **parameters):\n    print('some words')\n    return parameters\n";
    const first = await client.services.run(new File([source], "again.py"), {
      input: new File(["hello"], "cat words.txt"),
      parameters: { some_word: "x", count: 1 },
      labels,
    });
    await expect(client.jobs.deleteData(first.jobId)).rejects.toMatchObject({ name: "Conflict" });
    await client.jobs.wait(first.jobId, { timeoutMs: 60_000 });
    const found = await client.jobs.get(first.jobId);
    expect(found).toMatchObject({ name: "cat words.txt (again.py)", labels });
    expect(found.parameters).toMatchObject({ parameters: { some_word: "x", count: 1 } });
    expect(found.inputs.map(({ field, name, size }) => [field, name, size])).toEqual([
      ["input.source", "cat words.txt", 5],
      ["model.source", "again.py", source.length],
    ]);
    const set = { "parameters.count": 2 };
    const again = await client.jobs.rerun(first.jobId, { set, name: "second", waitSeconds: 60 });
    expect(again.results).toMatchObject({ some_word: "x", count: 2 });
    const page = await client.jobs.list({ labels, minerId });
    expect(page.jobs.map(({ name }) => name)).toEqual(["second", "cat words.txt (again.py)"]);
    expect((await client.jobs.list({ labels: { other_key: "d" } })).total).toBe(0);
    const counted = await client.jobs.labels({ key: "some-key" });
    expect(counted.labels).toEqual([{ key: "some-key", value: "a_b", jobs: page.total }]);
    expect((await client.jobs.list({ labels, name: "second" })).total).toBe(1);
    const log = await client.jobs.log(first.jobId);
    expect(log).toMatchObject({ jobId: first.jobId, truncated: false });
    expect(log.entries).toContainEqual(
      expect.objectContaining({ attempt: 1, source: "stdout", text: "some words" }),
    );
    expect((await client.jobs.deleteData(first.jobId)).jobId).toBe(first.jobId);
    await expect(client.jobs.get(first.jobId)).rejects.toMatchObject({ name: "JobNotFound" });
    expect((await client.jobs.list({ labels })).total).toBe(1);
    expect((await client.receipts.get(first.jobId)).jobId).toBe(first.jobId);
  });

  test("lists services, and validates a request", async () => {
    const { services } = await client.registry.services({ search: "video" });
    expect(services.map(({ serviceId }) => serviceId)).toContain("video_transcoding");
    const service = await client.registry.service("video_transcoding");
    expect(service.outputSchema.type).toBe("object");
    const schema = await client.registry.schema("video_transcoding");
    expect(Object.keys(schema.properties ?? {})).toContain("output_format");
    expect((await client.registry.requirements("llm_inference")).models[0]).toHaveProperty("vramMin");
    const found = await client.registry.validate("video_transcoding", { input_url: "x" });
    expect([found.valid, found.errors[0]?.field]).toEqual([false, "input_url"]);
  });
});

describe.skipIf(!isLive)("errors have a class for each code", () => {
  const client = clientOf();
  const calls: [string, number, () => Promise<unknown>][] = [
    ["JobNotFound", 404, () => client.jobs.get("job_0")],
    ["NotFound", 404, () => client.registry.service("nothing")],
    ["InvalidJobType", 400, () => client.jobs.create({ type: "nothing" })],
    ["ValidationFailed", 422, () => client.services.transcode("https://example.com/a", { resolution: "x" })],
    ["InsufficientBalance", 402, () => client.jobs.create({ ...WAITING, pricing: { maxCost: "9999999" } })],
    ["Forbidden", 403, () => client.admin.overview()],
    ["OfferNotAvailable", 410, acceptWithdrawn],
    [
      "JobNotCompleted",
      409,
      async () => client.jobs.getResults((await client.jobs.create(WAITING)).jobId, { wait: false }),
    ],
    ["JobAlreadyCompleted", 409, cancelCompleted],
    ["Conflict", 409, createDifferently],
  ];

  test.each(calls)("%s", async (name, status, call) => {
    await expect(call()).rejects.toMatchObject({ name, status, requestId: expect.any(String) });
  });

  async function acceptWithdrawn() {
    const miner = clientOf("miner");
    const offer = await miner.marketplace.createOffer({
      jobType: "ai-inference",
      price: "0.001",
      maxJobs: 1,
      duration: 60,
      requirements: { minCpu: "1m" },
    });
    expect(offer).toMatchObject({ minerId, requirements: { minCpu: "1m" }, jobsLeft: 1 });
    const { jobId } = await client.jobs.create(WAITING);
    expect(await miner.marketplace.withdraw(offer.offerId)).toMatchObject({ status: "withdrawn" });
    await client.marketplace.accept(offer.offerId, { jobId, bidPrice: "0.001" });
  }

  async function cancelCompleted() {
    const { jobs } = await client.jobs.list({ status: "completed", limit: 1 });
    await client.jobs.cancel(jobs[0]?.jobId ?? "");
  }

  async function createDifferently() {
    const options = { idempotencyKey: `key ${Math.random()}` };
    const [one, other] = [
      await client.jobs.create(WAITING, options),
      await client.jobs.create(WAITING, options),
    ];
    expect(one.jobId).toBe(other.jobId);
    await client.jobs.create({ ...WAITING, priority: 1 }, options);
  }
});

describe.skipIf(!isLive)("money, miners and administration", () => {
  test("pays for a job with an offer", async () => {
    const [client, miner] = [clientOf(), clientOf("miner")];
    const offer = await miner.marketplace.createOffer({
      jobType: "ai-inference",
      price: "0.002",
      maxJobs: 3,
      duration: 600,
    });
    const { offers } = await client.marketplace.offers({ jobType: "ai-inference", maxPrice: "0.002" });
    expect(offers.map(({ offerId }) => offerId)).toContain(offer.offerId);
    const job = await client.jobs.create({
      ...inlineProgram("def predict(input, **parameters): return 1"),
      offerId: offer.offerId,
    });
    await client.jobs.wait(job.jobId, { timeoutMs: 60_000 });
    const { transactions } = await client.wallet.transactions({ limit: 1 });
    expect(transactions[0]).toMatchObject({ jobId: job.jobId, status: "settled", type: "payment" });
    expect(await miner.wallet.get()).toMatchObject({ minerId });
    expect(await client.marketplace.stats()).toMatchObject({ totalJobs: expect.any(Number) });
    await miner.marketplace.withdraw(offer.offerId);
    const own = await miner.marketplace.offers({ mine: true, limit: 1 });
    expect(own.offers[0]).toMatchObject({ offerId: offer.offerId, status: "withdrawn" });
  });

  test("shows owners their miner", async () => {
    const miner = clientOf("miner");
    const { miners, total } = await miner.miners.list();
    expect([miners.map((one) => one.minerId), total]).toEqual([[minerId], 1]);
    expect(await miner.miners.get(minerId)).toMatchObject({ online: true, services: expect.any(Array) });
    expect((await miner.miners.earnings(minerId, { days: 3 })).days.length).toBe(3);
    expect(await miner.miners.stats(minerId)).toMatchObject({ minerId, totalEarned: expect.any(String) });
    expect(await miner.miners.resume(minerId)).toMatchObject({ command: "resume" });
    expect(await miner.keys.me()).toMatchObject({ role: "miner", minerId });
  });

  test("lets administrators create accounts, keys and logins, and keys revoke themselves", async () => {
    const admin = clientOf("admin");
    const { accountId } = await admin.admin.createAccount("a farm");
    expect(await admin.admin.credit(accountId, { amount: "1.5", note: "a gift" })).toMatchObject({
      balance: "1.5",
    });
    const key = await admin.admin.createKey({ role: "client", name: "a key", accountId });
    expect((await admin.admin.keys()).keys.map(({ keyId }) => keyId)).toContain(key.keyId);
    const { AITBCClient } = await import("../src/index.js");
    const farm = new AITBCClient({ baseUrl: admin.baseUrl, apiKey: key.key });
    expect(await farm.wallet.get()).toMatchObject({ accountId, balance: "1.5" });
    const another = await farm.keys.create("another");
    expect((await farm.keys.list()).keys.length).toBe(2);
    await farm.keys.revoke(another.keyId);
    await farm.keys.revokeSelf();
    await expect(farm.keys.me()).rejects.toMatchObject({ name: "Unauthorized" });
    const { token } = await admin.admin.createLogin({ accountId });
    const { keys } = await clientOf().login(token);
    expect(keys.map(({ role }) => role)).toEqual(["client"]);
    await admin.admin.revokeKey(keys[0]?.keyId ?? "");
    await expect(clientOf().login(token)).rejects.toMatchObject({ name: "Unauthorized" });
    expect(await admin.admin.debit(accountId, { amount: "2", force: true })).toMatchObject({
      balance: "-0.5",
    });
    const history = await admin.admin.history("money", "hour");
    expect(history.points.at(-1)?.figures).toMatchObject({ debited: "2" });
    const enrolment = await admin.admin.createEnrolment({ uses: 2, validSeconds: 60, note: "a rack" });
    await admin.admin.revokeEnrolment(enrolment.enrolmentId);
    expect((await admin.admin.enrolments({ limit: 1 })).enrolments[0]).toMatchObject({
      enrolmentId: enrolment.enrolmentId,
      status: "revoked",
      note: "a rack",
    });
    expect((await admin.admin.overview()).miners[0]).toMatchObject({ minerId, online: true });
    expect((await admin.admin.accounts({ limit: 1 })).next).toBeDefined();
  });
});
