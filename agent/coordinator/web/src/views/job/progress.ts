/** The progress of a job on its page: its status, and the output that its runner has reported so far. */
import type { Job, JobEvent, JsonObject } from "@aitbc/client";
import type { Frame } from "../../results/frames.tsx";
import type { Segment } from "../../results/transcript.tsx";

export interface JobProgress {
  job: Job | undefined;
  /** The text that a language model has written so far. */
  text: string;
  /** What the model thought before it wrote that, if it reports it. */
  reasoning: string;
  segments: Segment[];
  /** The latest preview of each image, as a data URL by the image's index. */
  previews: Record<number, string>;
  outputs: Frame[];
  error: unknown;
}

export const INITIAL: JobProgress = {
  job: undefined,
  text: "",
  reasoning: "",
  segments: [],
  previews: {},
  outputs: [],
  error: undefined,
};

/** Return the progress after an event. */
export function reduce(progress: JobProgress, event: JobEvent): JobProgress {
  const { data } = event;
  switch (event.kind) {
    case "job_update":
      // A new run writes all of its output again.
      return { ...(event.job?.status === "submitted" ? INITIAL : progress), job: event.job };
    case "token":
      return { ...progress, text: withToken(progress.text, data) };
    case "part":
      return data.index === 0 && typeof data.reasoning === "string"
        ? { ...progress, reasoning: progress.reasoning + data.reasoning }
        : progress;
    case "resync":
      // The outputs so far follow.
      return { ...INITIAL, job: progress.job };
    case "segment":
      return { ...progress, segments: [...progress.segments, data as unknown as Segment] };
    case "preview":
      return {
        ...progress,
        previews: {
          ...progress.previews,
          [Number(data.image_index)]: `data:${data.media_type};base64,${data.image}`,
        },
      };
    case "output":
      return { ...progress, outputs: withOutput(progress.outputs, data) };
    default:
      return progress;
  }
}

/** Add a piece of text at its `offset` (in code points), so that a piece delivered twice is shown once. */
function withToken(text: string, data: JsonObject): string {
  const before = typeof data.offset === "number" ? [...text].slice(0, data.offset).join("") : text;
  return before + String(data.text ?? "");
}

function withOutput(outputs: Frame[], data: JsonObject): Frame[] {
  const output = { ...data, ...(data.extra as object) } as unknown as Frame;
  return [...outputs.filter((known) => known.name !== output.name), output];
}
