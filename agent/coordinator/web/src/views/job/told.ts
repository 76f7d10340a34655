/** What is known of a job that is followed: its state, and what its runner has told. */
import type { Job, JobEvent, JsonObject } from "@aitbc/client";
import type { Frame } from "../../results/frames.tsx";
import type { Segment } from "../../results/transcript.tsx";

export interface Told {
  job: Job | undefined;
  /** What a language model has written so far. */
  text: string;
  segments: Segment[];
  /** The newest sketch of each picture, as an address of an image. */
  previews: Record<number, string>;
  outputs: Frame[];
  error: unknown;
}

export const NOTHING: Told = {
  job: undefined,
  text: "",
  segments: [],
  previews: {},
  outputs: [],
  error: undefined,
};

/** What is known after an event. */
export function after(told: Told, event: JobEvent): Told {
  const { data } = event;
  switch (event.kind) {
    case "job_update":
      // A run that begins anew writes everything anew.
      return event.job?.status === "submitted" ? { ...NOTHING, job: event.job } : { ...told, job: event.job };
    case "token":
      return { ...told, text: written(told.text, data) };
    case "segment":
      return { ...told, segments: [...told.segments, data as unknown as Segment] };
    case "preview":
      return {
        ...told,
        previews: {
          ...told.previews,
          [Number(data.image_index)]: `data:${data.media_type};base64,${data.image}`,
        },
      };
    case "output":
      return { ...told, outputs: withOutput(told.outputs, data) };
    default:
      return told;
  }
}

/** `offset`, in code points, says where a piece belongs, so that one that comes twice does not stand twice. */
function written(text: string, data: JsonObject): string {
  const before = typeof data.offset === "number" ? [...text].slice(0, data.offset).join("") : text;
  return before + String(data.text ?? "");
}

function withOutput(outputs: Frame[], data: JsonObject): Frame[] {
  const output = { ...data, ...(data.extra as object) } as unknown as Frame;
  return [...outputs.filter((known) => known.name !== output.name), output];
}
