/** Which examples can run, and what to do about those that cannot. */

import { existsSync } from "node:fs";
import type { MinerDetails, ServiceSupply } from "@aitbc/client";
import { describe, expect, test } from "vitest";
import { EXAMPLES, type Example, parted, stateOf } from "../src/features/examples/examples.ts";

const example = (serviceId: string) => EXAMPLES.find((each) => each.serviceId === serviceId) as Example;
const supply = (serviceId: string, miners: number, models: object[] = []) =>
  ({ serviceId, miners, models }) as unknown as ServiceSupply;
const whisper = example("whisper_transcription");
const blender = example("blender_rendering");

test("every file of an example is there", () => {
  const files = EXAMPLES.flatMap(({ file }) => file ?? []);
  expect(files.length).toBeGreaterThan(3);
  for (const file of files)
    expect(existsSync(new URL(`../public/examples/${file}`, import.meta.url))).toBe(true);
});

describe("an example with a model", () => {
  const state = (...models: object[]) =>
    stateOf(whisper, { services: [supply("whisper_transcription", 1, models)], machine: undefined });

  test("uses one that a machine has, rather the better one", () => {
    const tiny = { name: "tiny.en", available: true };
    expect(state(tiny, { name: "base", available: true })).toEqual({ model: "base" });
    expect(state(tiny, { name: "base", available: false, downloadable: true }).model).toBe("tiny.en");
    expect(state({ name: "own", available: true })).toEqual({ model: "own" });
  });

  test("downloads the smallest if none is there, and says so", () => {
    const fetched = ["base", "tiny", "large"].map((name) => ({ name, available: false, downloadable: true }));
    expect(state(...fetched)).toEqual({ model: "tiny", note: "A machine downloads tiny first." });
  });

  test("cannot run without any", () => {
    expect(state({ name: "large", available: false, downloadable: true }).lacks?.reason).toContain(
      "No machine",
    );
  });
});

describe("a service that nobody offers", () => {
  const services = [supply("blender_rendering", 0), supply("llm_inference", 1)];
  const lacks = (machine: object | undefined) =>
    stateOf(blender, { services, machine: machine as MinerDetails | undefined }).lacks;

  test("has the reason of the own machine, and the command that mends it", () => {
    const reasons = [
      "Blender cannot be used: it is not there.",
      "The engine blender is not installed (350 MiB). It renders. Install it: aitbc-agent engines install blender.",
    ];
    expect(lacks({ online: true, unavailable: { blender_rendering: reasons } })).toEqual({
      reason: "The engine blender is not installed (350 MiB). It renders. Install it:",
      command: "aitbc-agent engines install blender",
    });
  });

  test("is not blamed on machines that are online", () => {
    expect(lacks(undefined)?.reason).toContain("No machine that is online offers it");
    const nobody = stateOf(blender, { services: [supply("blender_rendering", 0)], machine: undefined });
    expect(nobody.lacks?.reason).toContain("No machine is online");
    expect(lacks({ online: false })?.command).toBe("aitbc-agent start");
  });
});

test("a reason without a command is shown as it is", () => {
  expect(parted("It needs 8 GiB of memory, and this machine has 4 GiB.")).toEqual({
    reason: "It needs 8 GiB of memory, and this machine has 4 GiB.",
  });
  expect(
    parted(
      "These packages are missing: torch. Install them: /opt/x/bin/python -m uv pip install torch 'a[b]'.",
    ).command,
  ).toBe("/opt/x/bin/python -m uv pip install torch 'a[b]'");
});
