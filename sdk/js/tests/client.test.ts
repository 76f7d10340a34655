/** The client's requests, and its handling of responses, over real HTTP. */

import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import * as aitbc from "../src/index.js";
import { AITBCClient, API_ERRORS, outputFiles } from "../src/index.js";
import { broken, errorReply, type Reply, StandIn } from "./stand_in.js";

let server: StandIn;
let baseUrl: string;
let client: AITBCClient;

beforeEach(async () => {
  // One server for each test, because a request that a test abandoned may still arrive.
  server = new StandIn();
  baseUrl = await server.start();
  client = new AITBCClient({ apiKey: "key_1", baseUrl });
  // No delays between retries.
  vi.spyOn(Math, "random").mockReturnValue(-0.5);
});
afterEach(() => {
  server.close();
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

const CREATED = { job_id: "job_1", status: "submitted", created_at: "now", estimated_completion: "soon" };
const JOB = { type: "ai-inference" };

describe("sessions of browsers", () => {
  test("a page sends the cookie, its role and its token, and no key", async () => {
    const spy = vi.fn((input: string, init: RequestInit) => fetch(input, init));
    const page = new AITBCClient({
      apiKey: "key_1",
      baseUrl,
      browser: { role: "admin", csrfToken: "token_1" },
      fetch: spy,
    });
    server.replies = [{ json: { jobs: [], total: 0, limit: 50, offset: 0 } }];
    await page.jobs.list();
    expect(spy.mock.calls[0]?.[1].credentials).toBe("same-origin");
    expect(server.seen[0]?.headers).toMatchObject({ "x-session-role": "admin", "x-csrf-token": "token_1" });
    expect(server.seen[0]?.headers.authorization).toBeUndefined();
  });

  test("a client with a key sends no cookies", async () => {
    const spy = vi.fn((input: string, init: RequestInit) => fetch(input, init));
    server.replies = [{ json: { jobs: [], total: 0, limit: 50, offset: 0 } }];
    await new AITBCClient({ apiKey: "key_1", baseUrl, fetch: spy }).jobs.list();
    expect(spy.mock.calls[0]?.[1].credentials).toBe("omit");
  });

  test("a browser that is not signed in has no session", async () => {
    server.replies = [(response) => response.writeHead(204).end()];
    expect(await client.sessions.current()).toBeUndefined();
    const session = {
      session_id: "session_1",
      created_at: "now",
      expires_at: "later",
      keys: [],
      csrf_token: "t",
    };
    server.replies = [{ json: session }];
    expect(await client.sessions.begin({ token: "login_1" })).toMatchObject({ csrfToken: "t" });
    expect(JSON.parse(server.seen[1]?.body ?? "")).toEqual({ token: "login_1" });
  });
});

test("deletes a file", async () => {
  server.replies = [(response) => response.writeHead(204).end()];
  const artifactId = `sha256:${"1".repeat(64)}`;
  await client.artifacts.delete(`artifact:${artifactId}`);
  expect(server.seen[0]).toMatchObject({ method: "DELETE", path: `/v1/artifacts/${artifactId}` });
});

test("lists files and reads the deliveries of webhooks", async () => {
  const file = { artifact_id: "sha256:1", size: 5, media_type: "a/b", created_at: "now", job_count: 1 };
  const page = { artifacts: [{ ...file, jobs: [{ job_id: "job_1", direction: "input" }] }], stored_bytes: 5 };
  server.replies = [
    { json: page },
    { json: { secret: "whsec_1" } },
    { json: { webhooks: [{ last_status_code: 204 }] } },
  ];
  const listed = await client.artifacts.list({ prefix: "sha256:1", limit: 2 });
  expect(listed.artifacts[0]).toMatchObject({ jobCount: 1, jobs: [{ jobId: "job_1", direction: "input" }] });
  expect(listed.storedBytes).toBe(5);
  expect((await client.webhooks.secret()).secret).toBe("whsec_1");
  expect((await client.webhooks.ofJob("job_1")).webhooks[0]?.lastStatusCode).toBe(204);
  expect(server.seen.map((request) => request.path)).toEqual([
    "/v1/artifacts?prefix=sha256%3A1&limit=2",
    "/v1/webhooks/secret",
    "/v1/jobs/job_1/webhooks",
  ]);
});

describe("names", () => {
  test("of a body are converted to the API's, but not those in its values", async () => {
    server.replies = [{ status: 201, json: CREATED }];
    const job = await client.jobs.create({
      ...JOB,
      name: "my-job",
      timeoutSeconds: 60,
      max_attempts: 2,
      pricing: { maxCost: "0.10" },
      parameters: { someWord: 1, other_word: { twoWords: 2 } },
      minerId: undefined,
    });
    expect(job).toEqual({
      jobId: "job_1",
      status: "submitted",
      createdAt: "now",
      estimatedCompletion: "soon",
    });
    expect(JSON.parse(server.seen[0]?.body ?? "")).toEqual({
      type: "ai-inference",
      name: "my-job",
      timeout_seconds: 60,
      max_attempts: 2,
      pricing: { max_cost: "0.10" },
      parameters: { someWord: 1, other_word: { twoWords: 2 } },
    });
    expect(server.seen[0]?.headers).toMatchObject({
      authorization: "Bearer key_1",
      "user-agent": expect.stringMatching(/^aitbc-javascript\//),
    });
  });

  test("in results are the service's", async () => {
    const file = {
      artifact_id: `sha256:${"0".repeat(64)}`,
      url: "/x",
      media_type: "video/mp4",
      size: 1,
      name: "a.mp4",
    };
    const results = { processing_time: 1, z_file: file, deep: [{ a_file: file }] };
    server.replies = [{ json: { job_id: "job_1", status: "completed", results, completed_at: "now" } }];
    const found = await client.jobs.getResults("job_1");
    expect(found).toEqual({
      jobId: "job_1",
      status: "completed",
      results,
      completedAt: "now",
      opened: false,
    });
    expect(outputFiles(found.results).map(({ name }) => name)).toEqual(["a.mp4", "a.mp4"]);
  });

  test("in schemas and in maps whose keys are data are not converted", async () => {
    const unavailable = { video_transcoding: ["no ffmpeg"] };
    server.replies = [
      { json: { miner_id: "miner_1", unavailable, gpus: [{ power_limit: 1 }] } },
      { json: { service_id: "s", output_schema: { some_field: 1 } } },
      { json: { properties: { some_field: 1 } } },
    ];
    const miner = await client.miners.get("miner_1");
    expect(miner).toEqual({ minerId: "miner_1", unavailable, gpus: [{ powerLimit: 1 }] });
    expect(await client.registry.service("s")).toEqual({
      serviceId: "s",
      outputSchema: { some_field: 1 },
    });
    expect(await client.registry.schema("s")).toEqual({ properties: { some_field: 1 } });
  });
});

describe("errors", () => {
  test.each(Object.entries(API_ERRORS))("%s has its class", async (code, kind) => {
    server.replies = Array.from({ length: 5 }, () => errorReply(400, code));
    const error = await client.jobs.get("job_1").catch((error) => error);
    expect(error).toBeInstanceOf(kind);
    expect(error).toBeInstanceOf(aitbc.AITBCError);
    expect([error.name, error.code, error.status, error.details, error.requestId, error.message]).toEqual([
      kind.name,
      code,
      400,
      { job_id: "job_1" },
      "req_1",
      "No.",
    ]);
  });

  test("a job that cannot run has reasons, as its explanation does", async () => {
    const reason = {
      code: "MODEL_MISSING",
      message: "m",
      who: "owner",
      action: "a",
      details: { model: "base" },
    };
    const error = { code: "CANNOT_RUN", message: "No.", details: { reasons: [reason] }, request_id: "r" };
    server.replies = [
      { status: 422, json: { error } },
      { json: { job_id: "job_1", status: "submitted", can_run: "never", reasons: [reason], miners: [] } },
    ];
    const refused = await client.jobs.create(JOB).catch((error) => error);
    const found = await client.jobs.explain("job_1");
    expect(refused.reasons).toEqual([reason]);
    expect([found.canRun, found.reasons]).toEqual(["never", [reason]]);
    expect(server.seen[1]?.path).toBe("/v1/jobs/job_1/explain");
  });

  test("an archive as the input of a program is stored apart from the job, under its own name", async () => {
    const digest = createHash("sha256").update("zip").digest("hex");
    server.replies = [
      { json: { artifact_id: `sha256:${digest}`, size: 3 } },
      { json: { job_id: "job_1", status: "submitted", missing_files: ["model.source"] } },
      { json: { job_id: "job_1", status: "submitted" } },
    ];
    await client.services.run(new File(["code"], "count.py"), { input: new File(["zip"], "photos.zip") });
    expect(server.seen.map(({ path }) => path)).toEqual([
      "/v1/artifacts?name=photos.zip",
      "/v1/jobs",
      "/v1/jobs/job_1/files/count.py",
    ]);
    expect(JSON.parse(server.seen[1]?.body ?? "")).toMatchObject({
      input: { type: "file", format: "zip", source: `artifact:sha256:${digest}` },
    });
  });

  test("a validation error contains the message of each field", async () => {
    const details = { fields: { "pricing.max_cost": "is no money" } };
    const error = { code: "VALIDATION_ERROR", message: "No.", details, request_id: "r" };
    server.replies = [{ status: 422, json: { error } }];
    const found = await client.jobs.create(JOB).catch((error) => error);
    expect(found.fields).toEqual({ "pricing.max_cost": "is no money" });
  });

  test.each([
    ["an unknown code", errorReply(418, "TEAPOT"), "APIError", "TEAPOT"],
    ["another server's page", { status: 404, json: "<html>" } as Reply, "APIError", "HTTP_404"],
    ["a name of Object.prototype", errorReply(400, "constructor"), "APIError", "constructor"],
  ])("%s is an error too", async (_, reply, name, code) => {
    server.replies = [reply];
    await expect(client.jobs.get("job_1")).rejects.toMatchObject({ name, code });
  });

  test("a response that is not JSON is a transport error", async () => {
    server.replies = [(response) => response.end("<html>")];
    await expect(client.jobs.get("job_1")).rejects.toMatchObject({ name: "TransportError", sent: true });
  });

  test("a refused connection is an error of an unsent request", async () => {
    const offline = new AITBCClient({ baseUrl: "http://127.0.0.1:1", retries: 0, fetch: unreachable });
    await expect(offline.jobs.create(JOB)).rejects.toMatchObject({ name: "TransportError", sent: false });
  });

  async function unreachable(): Promise<Response> {
    throw new TypeError("fetch failed", {
      cause: Object.assign(new Error("no"), { code: "ECONNREFUSED" }),
    });
  }
});

describe("retries", () => {
  test("a lost connection is retried if that is safe", async () => {
    server.replies = [broken, broken, { json: { job_id: "job_1" } }];
    expect((await client.jobs.get("job_1")).jobId).toBe("job_1");
    expect(server.seen.length).toBe(3);
  });

  test("a job is not created twice", async () => {
    server.replies = [broken, { status: 201, json: CREATED }];
    await expect(client.jobs.create(JOB)).rejects.toMatchObject({ name: "TransportError" });
    expect(server.seen.length).toBe(1);
  });

  test("creating a job with an idempotency key is retried", async () => {
    server.replies = [broken, { status: 201, json: CREATED }];
    await client.jobs.create(JOB, { idempotencyKey: "once" });
    expect(server.seen.map(({ headers }) => headers["idempotency-key"])).toEqual(["once", "once"]);
  });

  test("creating a job is retried when the coordinator is busy", async () => {
    server.replies = [
      errorReply(429, "RATE_LIMIT_EXCEEDED", { "Retry-After": "0" }),
      errorReply(503, "SERVICE_UNAVAILABLE"),
      { status: 201, json: CREATED },
    ];
    await client.jobs.create(JOB);
    expect(server.seen.length).toBe(3);
  });

  test("a requested delay of more than a minute is an error", async () => {
    server.replies = [errorReply(503, "SERVICE_UNAVAILABLE", { "Retry-After": "61" })];
    await expect(client.jobs.get("job_1")).rejects.toMatchObject({ retryAfter: 61 });
  });

  test("the number of retries is limited", async () => {
    server.replies = Array.from({ length: 9 }, () => errorReply(502, "MACHINE_FAULT"));
    await expect(client.jobs.get("job_1")).rejects.toMatchObject({ status: 502 });
    expect(server.seen.length).toBe(5);
  });

  test("no response is a timeout", async () => {
    server.replies = [() => undefined];
    const hasty = new AITBCClient({ baseUrl, timeoutMs: 20, retries: 0 });
    await expect(hasty.health()).rejects.toMatchObject({ name: "TimeoutError" });
  });

  test("an interrupted response is a timeout", async () => {
    server.replies = [(response) => response.write("{")];
    const hasty = new AITBCClient({ baseUrl, timeoutMs: 50, retries: 0 });
    await expect(hasty.health()).rejects.toMatchObject({ name: "TimeoutError" });
  });
});

describe("aborting", () => {
  test("ends a call with the signal's reason", async () => {
    const controller = new AbortController();
    server.replies = [() => controller.abort("enough")];
    await expect(client.jobs.get("job_1", { signal: controller.signal })).rejects.toBe("enough");
  });

  test("ends a call that waits for a retry", async () => {
    const controller = new AbortController();
    server.replies = [errorReply(503, "SERVICE_UNAVAILABLE", { "Retry-After": "30" })];
    const call = expect(client.jobs.get("job_1", { signal: controller.signal })).rejects.toBe("enough");
    await vi.waitFor(() => expect(server.seen.length).toBe(1));
    controller.abort("enough");
    await call;
    expect(server.seen.length).toBe(1);
  });

  test("before a call sends nothing", async () => {
    await expect(client.jobs.get("job_1", { signal: AbortSignal.abort() })).rejects.toMatchObject({
      name: "AbortError",
    });
    expect(server.seen).toEqual([]);
  });
});

describe("waiting", () => {
  test("reports every change once", async () => {
    const states = ["submitted", "running", "running", "completed"];
    server.replies = states.map((status) => ({ json: { job_id: "job_1", status } }));
    const seen: string[] = [];
    await client.jobs.wait("job_1", { onProgress: ({ status }) => seen.push(status) });
    expect(seen).toEqual(["submitted", "running", "completed"]);
  });

  test("for a job that fails throws the reason", async () => {
    const error = { code: "MODEL_FAILED", message: "It broke." };
    server.replies = [{ json: { job_id: "job_1", status: "failed", error } }];
    await expect(client.jobs.wait("job_1")).rejects.toMatchObject({
      name: "JobFailed",
      code: "MODEL_FAILED",
      message: "Job job_1 has failed: It broke (MODEL_FAILED)",
    });
  });

  test("ends at the time limit", async () => {
    server.replies = [{ json: { job_id: "job_1", status: "running" } }];
    await expect(client.jobs.wait("job_1", { timeoutMs: 1 })).rejects.toMatchObject({
      name: "TimeoutError",
    });
  });
});

describe("files", () => {
  test("of a job are uploaded by name", async () => {
    server.replies = [
      { status: 201, json: CREATED },
      { json: { job_id: "job_1" } },
      { json: { job_id: "job_1" } },
    ];
    const stream = new Blob(["jpeg"]).stream();
    await client.jobs.create(JOB, { files: { "model.py": new TextEncoder().encode("1"), "a b": stream } });
    expect(server.seen.slice(1).map(({ method, path, body }) => [method, path, body])).toEqual([
      ["PUT", "/v1/jobs/job_1/files/model.py", "1"],
      ["PUT", "/v1/jobs/job_1/files/a%20b", "jpeg"],
    ]);
  });

  test("that fail to upload cancel their job", async () => {
    server.replies = [
      { status: 201, json: CREATED },
      errorReply(413, "PAYLOAD_TOO_LARGE"),
      { json: { job_id: "job_1", status: "cancelled" } },
    ];
    const files = { a: new Blob(["1"]) };
    await expect(client.jobs.create(JOB, { files })).rejects.toMatchObject({ name: "PayloadTooLarge" });
    expect(server.seen.at(-1)).toMatchObject({ method: "DELETE", path: "/v1/jobs/job_1" });
  });

  test("that do not exist create no job", async () => {
    await expect(client.jobs.create(JOB, { files: { a: "/nowhere/at/all" } })).rejects.toThrow();
    expect(server.seen).toEqual([]);
  });

  test("of a stream that another reader has create no job", async () => {
    const stream = new Blob(["1"]).stream();
    stream.getReader();
    await expect(client.jobs.create(JOB, { files: { a: stream } })).rejects.toThrow(TypeError);
    expect(server.seen).toEqual([]);
  });

  test("stored with another digest throw an error", async () => {
    server.replies = [{ status: 201, json: { artifact_id: "sha256:0", size: 1, media_type: "text/plain" } }];
    await expect(client.artifacts.upload(new Blob(["1"]))).rejects.toMatchObject({
      name: "VerificationError",
    });
  });

  test("in parts fail if the coordinator accepts no bytes", async () => {
    const begun: Reply = { status: 201, json: { upload_id: "upload_1" } };
    const stuck: Reply = { headers: { "Upload-Offset": "0" }, json: {} };
    server.replies = [begun, ...Array.from({ length: 10 }, () => stuck)];
    await expect(client.artifacts.upload(new Blob(["some words"]).stream())).rejects.toThrow(
      "The coordinator accepts no more than 0 bytes of this file.",
    );
    expect(server.seen.filter(({ method }) => method === "PATCH").length).toBe(5);
    server.replies = [begun, ...Array.from({ length: 10 }, () => ({ json: {} }))];
    await expect(client.artifacts.upload(new Blob(["some words"]).stream())).rejects.toThrow(
      "The response to a part of the upload has no valid Upload-Offset.",
    );
  });

  test("received with another digest throw an error", async () => {
    const reply: Reply = (response) => response.end("something else");
    server.replies = [errorReply(404, "NOT_FOUND"), reply, reply];
    const artifactId = `sha256:${"0".repeat(64)}`;
    await expect(client.artifacts.blob(artifactId)).rejects.toMatchObject({ name: "VerificationError" });
    const path = join(mkdtempSync(join(tmpdir(), "aitbc-")), "file");
    await expect(client.artifacts.download(artifactId, path)).rejects.toMatchObject({
      name: "VerificationError",
    });
    await expect(client.artifacts.blob("nonsense")).rejects.toMatchObject({ name: "FormatError" });
  });
});

describe("the coordinator's address", () => {
  test.each(["", "/", "/api", "/v1", "/api/v1/"])("may end in %j", async (suffix) => {
    const seen: string[] = [];
    const fetch = async (input: string) => {
      seen.push(input);
      return Response.json({ status: "ok" });
    };
    await new AITBCClient({ baseUrl: `https://aitbc.test${suffix}`, fetch }).health();
    expect(seen).toEqual([`https://aitbc.test${suffix.includes("api") ? "/api" : ""}/v1/health`]);
  });

  test.each(["aitbc.test", "ftp://aitbc.test", "https://", "https:///x"])("%j is malformed", (url) => {
    expect(() => new AITBCClient({ baseUrl: url })).toThrow(aitbc.ConfigurationError);
  });

  test("comes from the environment, else from the local agent, with its key", async () => {
    const directory = mkdtempSync(join(tmpdir(), "aitbc-"));
    for (const name of ["AITBC_BASE_URL", "AITBC_API_KEY"]) vi.stubEnv(name, undefined);
    vi.stubEnv("AITBC_DATA_DIR", join(directory, "data"));
    expect(() => new AITBCClient()).toThrow("aitbc-agent start");
    mkdirSync(join(directory, "data"));
    writeFileSync(
      join(directory, "data", "agent.json"),
      JSON.stringify({ url: baseUrl, client_key: "key_2" }),
    );
    server.replies = [{ json: {} }, { json: {} }];
    await new AITBCClient().wallet.get();
    vi.stubEnv("AITBC_BASE_URL", `${baseUrl}/api`);
    await new AITBCClient().wallet.get();
    expect(server.seen.map(({ path, headers }) => [path, headers.authorization])).toEqual([
      ["/v1/wallet", "Bearer key_2"],
      // The local agent's key is not sent to another coordinator.
      ["/api/v1/wallet", undefined],
    ]);
  });

  test("of an agent with a malformed file throws an error that names the file", () => {
    const directory = mkdtempSync(join(tmpdir(), "aitbc-"));
    vi.stubEnv("AITBC_BASE_URL", undefined);
    vi.stubEnv("AITBC_DATA_DIR", directory);
    writeFileSync(join(directory, "agent.json"), "{");
    expect(() => new AITBCClient()).toThrow(`${join(directory, "agent.json")} cannot be read`);
  });
});

describe("events of a job", () => {
  let cut: () => void;
  const sse = (...lines: string[]): Reply => {
    return (response) => {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      response.write(lines.join(""));
      cut = () => response.destroy();
    };
  };
  const update = (id: number, status: string) =>
    `event: job_update\nid: ${id}\ndata: {"job_id":"job_1","status":"${status}"}\n\n`;

  test("resume after the last one when the connection is lost", async () => {
    const token = 'event: job_event\r\nid: 8\r\ndata: {"kind":"token",\r\ndata: "text":"é"}\r\n\r\n';
    const unknown = 'event: other\nid: 9\ndata: {}\n\n: a comment\n\nevent: job_update\nid: 10\ndata: {"';
    server.replies = [
      sse(update(7, "running"), token, unknown),
      errorReply(503, "SERVICE_UNAVAILABLE"),
      sse(update(11, "completed")),
    ];
    const events = [];
    for await (const event of client.jobs.events("job_1")) {
      events.push(event);
      if (event.kind === "token") cut();
    }
    expect(events.map(({ kind, seq, job, data }) => [kind, seq, job?.status ?? data.text])).toEqual([
      ["job_update", 7, "running"],
      ["token", 8, "é"],
      ["job_update", 11, "completed"],
    ]);
    expect(server.seen.map(({ headers }) => headers["last-event-id"])).toEqual([undefined, "9", "9"]);
  });

  test("require an event stream", async () => {
    server.replies = Array.from(
      { length: 5 },
      () => (response: { end(text: string): void }) => response.end("hi"),
    );
    await expect(client.jobs.events("job_1").next()).rejects.toThrow("not an event stream");
  });

  test("end at the time limit", async () => {
    server.replies = [sse(update(7, "running"))];
    const events = client.jobs.events("job_1", { timeoutMs: 1 });
    await expect(
      (async () => {
        for await (const _ of events);
      })(),
    ).rejects.toMatchObject({ name: "TimeoutError" });
  });

  test.each([
    ["a missing piece", 5, "cd", "cdef", ["ab", "cdef"], undefined],
    ["a final text that differs", 2, "cd", "xyz", ["ab", "cd"], "TransportError"],
  ])("of a text with %s", async (_, offset, piece, rest, pieces, name) => {
    const token = (text: string, at: number) =>
      `event: job_event\ndata: {"kind":"token","text":"${text}","offset":${at}}\n\n`;
    const final = name === undefined ? `ab${rest}` : rest;
    server.replies = [
      { status: 201, json: CREATED },
      sse(update(1, "running"), token("ab", 0), token(piece, offset), update(9, "completed")),
      { json: { job_id: "job_1", status: "completed", results: { text: final } } },
    ];
    const stream = await client.services.stream("Hello", { model: "m" });
    const shown: string[] = [];
    const ended = (async () => {
      for await (const text of stream) shown.push(text);
    })();
    if (name === undefined) await ended;
    else await expect(ended).rejects.toMatchObject({ name });
    expect(shown).toEqual(pieces);
    expect(stream.results?.results.text).toBe(final);
  });
});
