/** Forms from schemas, requests from forms, and estimates. */
import { describe, expect, test } from "vitest";
import { checked } from "../src/schema/check.ts";
import { byField, estimated, estimateHint, frameCount } from "../src/schema/estimate.ts";
import {
  type FormField,
  fieldsOf,
  initialValues,
  type JsonSchema,
  labelsIn,
  requestOf,
  suggested,
  valuesOf,
  withFiles,
} from "../src/schema/fields.ts";
import { JOB_OPTIONS } from "../src/views/new/options.ts";

const SCHEMA: JsonSchema = {
  description:
    'Input of the service `paint`.\n\n`size` is "WIDTHxHEIGHT"; None is the\nmodel\'s own. With `image_url` the picture begins there.',
  examples: [{ prompt: "a house", size: "64x64" }],
  properties: {
    prompt: { type: "string", maxLength: 4000 },
    size: { anyOf: [{ type: "string", pattern: "x" }, { type: "null" }], default: null, examples: ["64x64"] },
    count: { type: "integer", minimum: 1, maximum: 8, default: 1 },
    depth: { anyOf: [{ type: "integer", enum: [8, 16] }, { type: "null" }], default: null },
    image_url: { anyOf: [{ type: "string" }, { type: "null" }], default: null, "x-aitbc-file": true },
    model: { $ref: "#/$defs/Program" },
    control: { anyOf: [{ $ref: "#/$defs/Control" }, { type: "null" }], default: null },
  },
  $defs: {
    Control: {
      type: "object",
      properties: { name: { type: "string" }, scale: { type: "number", default: 1, exclusiveMinimum: 0 } },
      required: ["name"],
    },
    Program: {
      type: "object",
      properties: {
        type: { const: "python", default: "python" },
        entrypoint: { type: "string" },
        source: {
          anyOf: [{ type: "string" }, { $ref: "#/$defs/Inline" }, { type: "null" }],
          default: null,
          "x-aitbc-file": true,
        },
      },
      required: ["entrypoint"],
    },
    Inline: { type: "object", properties: { inline: { type: "string" } } },
  },
  required: ["prompt", "model"],
};
const FORM = {
  groups: [
    {
      title: null,
      fields: [
        { name: "prompt", label: "What to paint", help: "In English." },
        {
          name: "depth",
          label: "Depth",
          help: "Of colours.",
          choices: { 8: "8 bits", 16: "16 bits" },
          empty: "As usual",
        },
      ],
    },
    {
      title: "Details",
      fields: [
        { name: "count", label: "How many", help: "Up to 8.", unit: "pictures" },
        { name: "size", label: "Size", help: "In pixels." },
      ],
    },
  ],
};
const FIELDS = fieldsOf(SCHEMA);
const field = (name: string) => FIELDS.find((field) => field.name === name);

describe("fields", () => {
  test("lists files first, flattens objects, and leaves out constants", () => {
    expect(FIELDS.map(({ name }) => name)).toEqual([
      "image_url",
      "model.source",
      "prompt",
      "size",
      "count",
      "depth",
      "model.entrypoint",
      "control.name",
      "control.scale",
    ]);
    expect(field("control.name")).toMatchObject({
      label: "Control name",
      required: false,
      neededIn: "control.",
    });
  });

  test("collapses fields that the example leaves out", () => {
    expect(FIELDS.filter(({ group }) => group).map(({ name }) => name)).toEqual([
      "image_url",
      "count",
      "depth",
      "control.name",
      "control.scale",
    ]);
  });

  test("derives the kind from the type, and treats null as optional", () => {
    expect(field("size")).toMatchObject({ kind: "text", required: false, default: undefined });
    expect(field("count")).toMatchObject({ kind: "number", integer: true, min: 1, max: 8, default: 1 });
    expect(field("depth")).toMatchObject({ kind: "choice", integer: true, options: ["8", "16"] });
    expect(field("image_url")).toMatchObject({ kind: "file", inline: false });
    expect(field("model.source")).toMatchObject({ kind: "file", inline: true });
  });

  test("take their order, words, groups and controls from the written form", () => {
    const fields = fieldsOf({ ...SCHEMA, "x-aitbc-form": FORM, "x-aitbc-max-file": 10 });
    expect(fields.map(({ name, group }) => [name, group])).toEqual([
      ["prompt", undefined],
      ["depth", undefined],
      ["count", "Details"],
      ["size", "Details"],
      ...["image_url", "model.entrypoint", "model.source", "control.name", "control.scale"].map((name) => [
        name,
        "Others",
      ]),
    ]);
    const [prompt, depth, count] = fields;
    expect(prompt).toMatchObject({ label: "What to paint", help: "In English.", maxFile: 10 });
    expect(depth).toMatchObject({ kind: "choice", names: { 8: "8 bits", 16: "16 bits" }, empty: "As usual" });
    expect(count).toMatchObject({ unit: "pictures", kind: "number", default: 1 });
    expect(checked([{ ...fields[0], maxFile: 1 } as FormField], { prompt: new File(["ab"], "a") })).toEqual({
      prompt: "This file has 2 B. The limit is 1 B.",
    });
  });
});

describe("a written form's controls", () => {
  const fields = fieldsOf({
    properties: {
      start: { type: "number", default: 0 },
      texts: { type: "array", items: { type: "string" } },
      frames: { anyOf: [{ type: "string" }, { type: "array", items: { type: "integer" } }] },
      frame: { anyOf: [{ type: "integer" }, { type: "null" }], default: null },
    },
    "x-aitbc-form": {
      groups: [
        {
          title: null,
          fields: [
            { name: "start", label: "Start", help: "", control: "time" },
            { name: "texts", label: "Texts", help: "", control: "lines" },
            { name: "frames", label: "Frames", help: "", control: "text" },
            { name: "frame", label: "Frame", help: "", instead: "frames" },
          ],
        },
      ],
    },
  });

  test("send seconds for times with minutes", () => {
    const sent = (start: string) => requestOf(fields, { ...initialValues(fields), start });
    expect(["90", "1:30", "1:02:03.5", "0:00", ""].map((text) => sent(text).start)).toEqual([
      90,
      90,
      3723.5,
      undefined,
      undefined,
    ]);
    expect(checked(fields, { start: "1:3:" }).start).toMatch(/for example 90 or 1:30/);
    expect(checked(fields, { start: "1:30" })).toEqual({});
  });

  test("show an earlier request as it would be written", () => {
    const request = { start: 3723.5, texts: ["a, b", "c"], frames: [1, 2, 3, 7] };
    const values = valuesOf(fields, request);
    expect(values).toEqual({ start: "1:02:03.5", texts: ["a, b", "c"], frames: "1-3,7" });
    expect(requestOf(fields, values)).toEqual({ ...request, frames: "1-3,7" });
    expect([7.25, 65, 600].map((start) => valuesOf(fields, { start }).start)).toEqual([
      "7.25",
      "1:05",
      "10:00",
    ]);
  });

  test("show the value of a hidden field in the one that replaces it", () => {
    expect(valuesOf(fields, { frame: 5 })).toEqual({ frames: "5" });
    expect(byField([{ field: "frame", message: "is wrong" }], fields)).toEqual({ frame: "Is wrong." });
  });
});

describe("requests", () => {
  test("contain required fields and fields that differ from their default", () => {
    const values = {
      ...initialValues(FIELDS),
      prompt: "a house",
      size: "",
      "model.entrypoint": "model.py",
      depth: 8,
    };
    expect(requestOf(FIELDS, values)).toEqual({
      prompt: "a house",
      depth: 8,
      model: { entrypoint: "model.py" },
    });
  });

  test("contain the addresses of their files, or placeholders for validation", () => {
    const values = { image_url: new File(["x"], "x.png") };
    expect(withFiles(values, (name) => `address of ${name}`)).toEqual({ image_url: "address of image_url" });
    expect(withFiles(values).image_url).toMatch(/^artifact:sha256:0{64}$/);
  });

  test("suggest the entry point from a program's file name, without overwriting it", () => {
    const file = new File([""], "cat.py");
    expect(suggested(FIELDS, {}, "model.source", file)).toEqual({ "model.entrypoint": "cat.py" });
    expect(suggested(FIELDS, { "model.entrypoint": "my.py" }, "model.source", file)).toEqual({});
    expect(suggested(FIELDS, {}, "image_url", file)).toEqual({});
  });
});

describe("an earlier request", () => {
  test("fills in the form, and comes out of it again", () => {
    const request = {
      prompt: "a house",
      count: 3,
      model: { entrypoint: "cat.py", source: "artifact:sha256:1" },
    };
    const values = valuesOf(FIELDS, request);
    expect(values).toEqual({
      prompt: "a house",
      count: 3,
      "model.entrypoint": "cat.py",
      "model.source": "artifact:sha256:1",
    });
    expect(requestOf(FIELDS, { ...initialValues(FIELDS), ...values })).toEqual(request);
  });

  test("includes the labels", () => {
    const labels = JOB_OPTIONS.filter(({ name }) => name === "labels");
    const values = valuesOf(labels, { labels: { project: "demo", take: "2" } });
    expect(values).toEqual({ labels: "project:demo, take:2" });
    expect(requestOf(labels, values)).toEqual({ labels: { project: "demo", take: "2" } });
    expect([labelsIn("project"), labelsIn("a:"), labelsIn("")]).toEqual([undefined, undefined, {}]);
  });
});

describe("errors", () => {
  const errors = (values: Record<string, unknown>) =>
    checked([...FIELDS, ...JOB_OPTIONS], {
      ...initialValues(FIELDS),
      prompt: "x",
      "model.entrypoint": "m.py",
      ...values,
    });

  test("name what is missing, with an example", () => {
    expect(errors({})).toEqual({});
    expect(errors({ prompt: "", "model.entrypoint": undefined })).toEqual({
      prompt: "Fill this in, for example a house.",
      "model.entrypoint": "Fill this in.",
    });
  });

  test("require a field of an optional object once another is filled in", () => {
    expect(errors({ "control.scale": 0.5 })).toEqual({ "control.name": "Fill this in." });
    expect(errors({ "control.name": "canny", "control.scale": 0 })).toEqual({
      "control.scale": "Enter a number above 0.",
    });
  });

  test("say in words what is right", () => {
    const wrong = {
      count: 9,
      "pricing.max_cost": "1,5",
      priority: 1.5,
      labels: "demo",
      image_url: "cat.png",
    };
    expect(errors(wrong)).toEqual({
      count: "Enter a whole number from 1 to 8.",
      "pricing.max_cost": "Enter an amount in credits, for example 1.00.",
      priority: "Enter a whole number from 0 to 9, for example 5.",
      labels: "Write name:value, separated by commas, for example project:demo.",
      image_url:
        "Enter an address, for example https://example.com/file, or the id of an uploaded file, which begins with sha256:.",
    });
    expect(errors({ prompt: "x".repeat(4001) }).prompt).toBe(
      "Use at most 4,000 characters; these are 4,001.",
    );
  });
});

describe("estimates", () => {
  const service = (serviceId: string) =>
    ({ serviceId, price: { lowest: "0.001", typical: "0.002" } }) as Parameters<typeof estimated>[0];

  test("multiply the units by the typical price, and name what they were counted from", () => {
    const pictures = { size: "1000x500", steps: 20, num_images: 2 };
    expect(estimated(service("image_generation"), pictures)).toEqual({
      units: 20,
      cost: 0.04,
      basis: "2 pictures of 1000x500, 20 steps",
      isLimit: false,
    });
    const media = { duration: 10, width: 1000, height: 1000 };
    const video = (request: Record<string, unknown>) =>
      estimated(service("video_transcoding"), request, media);
    expect(video({})).toMatchObject({ units: 10, basis: "10 s of video at 1000x1000" });
    expect(video({ output_format: "mp3" })).toMatchObject({ units: 1, basis: "10 s of sound" });
    expect(video({ start: 4, duration: 2 })?.units).toBe(2);
    expect(video({ start: 4 })?.units).toBe(6);
    expect(video({ start: 40 })).toBeUndefined();
    expect(estimated(service("whisper_transcription"), {}, media)?.units).toBe(10);
  });

  test("of a language model are limits, which include the prompt", () => {
    // The question is read again with each text.
    const ranked = { query: "x".repeat(40), documents: ["y".repeat(40), "z".repeat(40)] };
    const alone = estimated(service("text_reranking"), { ...ranked, documents: ["y".repeat(40)] });
    expect(estimated(service("text_reranking"), ranked)?.units).toBe(2 * (alone?.units ?? 0));
    expect(alone?.units).toBeGreaterThan(0);
    expect(estimated(service("llm_inference"), { prompt: "x".repeat(400) })).toMatchObject({
      units: 356,
      isLimit: true,
      basis: "about 100 tokens to read and up to 256 to write",
    });
  });

  test("are undefined, with a hint, if the form does not determine the units", () => {
    expect(estimated(service("image_generation"), { steps: 20 })).toBeUndefined();
    expect(estimated(service("text_reranking"), { query: "Why?" })).toBeUndefined();
    expect(estimated(service("ai_inference"), {})).toBeUndefined();
    // Values that no job can have: a price of them would be a lie.
    const pictures = { size: "1000x500", steps: 20, num_images: 2 };
    expect(estimated(service("image_generation"), { ...pictures, steps: -3 })).toBeUndefined();
    expect(estimated(service("image_generation"), { ...pictures, size: "0x10" })).toBeUndefined();
    expect(estimated(service("image_generation"), { ...pictures, num_images: Number.NaN })).toBeUndefined();
    expect(estimated(service("llm_inference"), { prompt: "a", max_tokens: -1 })).toBeUndefined();
    expect(
      estimated(service("video_transcoding"), {}, { duration: Infinity, width: 1, height: 1 }),
    ).toBeUndefined();
    expect(estimateHint("whisper_transcription", {})).toBe("Add a file to see the price");
    expect(estimateHint("image_generation", {})).toBe("With a size and steps, you see the price");
    expect(estimateHint("ai_inference", {})).toBe("Known when the job ends");
    expect(estimateHint("whisper_transcription", { audio_url: "https://example.com/a.mp3" })).toBe(
      "Known when the job ends",
    );
  });

  test("count the frames of lists and ranges", () => {
    expect(["1-48", "1,5,9-12", "7"].map((frames) => frameCount({ frames }))).toEqual([48, 6, 1]);
    expect(frameCount({})).toBe(1);
    expect(frameCount({ frames: "all" })).toBeUndefined();
  });
});
