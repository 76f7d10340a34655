/** Forms from schemas, requests from forms, and estimates. */
import { describe, expect, test } from "vitest";
import { estimated, estimateHint, frameCount } from "../src/schema/estimate.ts";
import {
  fieldsOf,
  initialValues,
  type JsonSchema,
  requestOf,
  suggested,
  withFiles,
} from "../src/schema/fields.ts";

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
  },
  $defs: {
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
    ]);
  });

  test("collapses fields that the example leaves out", () => {
    expect(FIELDS.filter(({ advanced }) => advanced).map(({ name }) => name)).toEqual([
      "image_url",
      "count",
      "depth",
    ]);
  });

  test("derives the kind from the type, and treats null as optional", () => {
    expect(field("size")).toMatchObject({ kind: "text", required: false, default: undefined });
    expect(field("count")).toMatchObject({ kind: "number", integer: true, min: 1, max: 8, default: 1 });
    expect(field("depth")).toMatchObject({ kind: "choice", integer: true, options: ["8", "16"] });
    expect(field("image_url")).toMatchObject({ kind: "file", inline: false });
    expect(field("model.source")).toMatchObject({ kind: "file", inline: true });
  });

  test("uses the sentences that name a field as its help, with labels for names", () => {
    expect(field("size")?.help).toBe('"WIDTHxHEIGHT"; empty is the model\'s own.');
    expect(field("image_url")?.help).toBe("With \u201cImage\u201d the picture begins there.");
    expect(field("prompt")?.help).toBeUndefined();
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

describe("estimates", () => {
  const service = (serviceId: string) =>
    ({ serviceId, price: { lowest: "0.001", typical: "0.002" } }) as Parameters<typeof estimated>[0];

  test("multiply the units by the typical price", () => {
    const pictures = { size: "1000x500", steps: 20, num_images: 2 };
    expect(estimated(service("image_generation"), pictures)).toEqual({ units: 20, cost: 0.04 });
    const media = { duration: 10, width: 1000, height: 1000 };
    expect(estimated(service("video_transcoding"), {}, media)?.units).toBe(10);
    expect(estimated(service("video_transcoding"), { output_format: "mp3" }, media)?.units).toBe(1);
    expect(estimated(service("whisper_transcription"), {}, media)?.units).toBe(10);
  });

  test("are undefined, with a hint, if the form does not determine the units", () => {
    expect(estimated(service("image_generation"), { steps: 20 })).toBeUndefined();
    expect(estimated(service("ai_inference"), {})).toBeUndefined();
    expect(estimateHint("whisper_transcription", undefined)).toBe("Add a file to see an estimate");
    expect(estimateHint("image_generation", undefined)).toBe("Fill in the form to see an estimate");
    expect(estimateHint("ai_inference", undefined)).toBe("Known when the job ends");
  });

  test("count the frames of lists and ranges", () => {
    expect(["1-48", "1,5,9-12", "7"].map((frames) => frameCount({ frames }))).toEqual([48, 6, 1]);
    expect(frameCount({})).toBe(1);
    expect(frameCount({ frames: "all" })).toBeUndefined();
  });
});
