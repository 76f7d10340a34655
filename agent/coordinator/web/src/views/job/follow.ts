/** A job as it happens: its state, and what its runner tells. */
import type { Job, JobEvent, JsonObject } from "@aitbc/client";
import { useEffect, useState } from "preact/hooks";
import type { Frame } from "../../results/frames.tsx";
import type { Segment } from "../../results/transcript.tsx";
import { api } from "../../session.ts";

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

const NOTHING: Told = { job: undefined, text: "", segments: [], previews: {}, outputs: [], error: undefined };

/** Follow a job for as long as it runs and the page is there. */
export function useJob(jobId: string): Told {
  const [told, setTold] = useState(NOTHING);
  useEffect(() => {
    const abort = new AbortController();
    setTold(NOTHING);
    void listen(jobId, abort.signal, (change) => setTold(change));
    return () => abort.abort();
  }, [jobId]);
  return told;
}

async function listen(jobId: string, signal: AbortSignal, change: (next: (told: Told) => Told) => void) {
  try {
    for await (const event of api("client").jobs.events(jobId, { signal })) {
      change((told) => after(told, event));
    }
  } catch (error) {
    if (!signal.aborted) change((told) => ({ ...told, error }));
  }
}

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
