/** The results of a job in a view that fits its service, or as JSON for an unknown service. */
import type { Job, JsonObject } from "@aitbc/client";
import type { ComponentChildren } from "preact";
import { count, plural } from "../format/size.ts";
import { Answer, Reasoning } from "./answer.tsx";
import type { OutputFile } from "./files.tsx";
import { type Frame, Frames } from "./frames.tsx";
import { Images, type Picture } from "./images.tsx";
import { Json } from "./json.tsx";
import { type Converted, Media } from "./media.tsx";
import { type Segment, Transcript } from "./transcript.tsx";

export interface ResultProps {
  job: Job;
  results: JsonObject;
  /** The job's input artifacts by the field that named them. */
  inputs: Record<string, string>;
}

type View = (props: ResultProps) => ComponentChildren;

/** Cast results to the type of the service's output schema, against which the coordinator has validated them. */
function as<T>(results: JsonObject): T {
  return results as unknown as T;
}

interface Inference {
  text: string;
  reasoning?: string | null;
  usage: { prompt_tokens: number; completion_tokens: number };
}

const VIEWS: Record<string, View> = {
  whisper_transcription: ({ results, inputs }) => {
    const { segments } = as<{ segments: Segment[] }>(results);
    return <Transcript segments={segments} recording={inputs.audio_url} />;
  },
  image_generation: ({ job, results }) => (
    <Images images={as<{ images: Picture[] }>(results).images} subject={job.name} />
  ),
  llm_inference: ({ results }) => {
    const { text, reasoning, usage } = as<Inference>(results);
    return (
      <>
        {reasoning && <Reasoning text={reasoning} />}
        <Answer text={text} />
        <p class="quiet small">
          {plural(usage.prompt_tokens, "token")} read, {count(usage.completion_tokens)} written
        </p>
      </>
    );
  },
  speech_synthesis: ({ results }) => {
    const { audio, segments } = as<{ audio: OutputFile; segments: Segment[] }>(results);
    return <Transcript segments={segments} recording={audio.artifact_id} />;
  },
  video_transcoding: ({ results }) => <Media result={as<Converted>(results)} />,
  blender_rendering: ({ results }) => <Frames {...as<{ frames: Frame[] }>(results)} />,
};

/** Return whether the results of a service are shown as anything else than JSON. */
export function hasView(serviceId: string): boolean {
  return serviceId in VIEWS;
}

export function Result(props: ResultProps) {
  const View = VIEWS[props.job.serviceId];
  return View ? View(props) : <Json value={props.results} name={`result-${props.job.jobId}.json`} />;
}
