/** The output of a running job so far. */
import type { Job } from "@aitbc/client";
import { Answer, Reasoning } from "../../results/answer.tsx";
import { Frames } from "../../results/frames.tsx";
import { Transcript } from "../../results/transcript.tsx";
import type { JobProgress } from "./progress.ts";

export function Live({ progress, job }: { progress: JobProgress; job: Job }) {
  const previews = Object.entries(progress.previews);
  return (
    <>
      {previews.length > 0 && (
        <ul class="gallery">
          {previews.map(([index, url]) => (
            <li key={index}>
              <figure class="stack picture" data-gap="2">
                <img src={url} alt={`Preview ${Number(index) + 1} of ${job.name}`} />
                <figcaption>Preview</figcaption>
              </figure>
            </li>
          ))}
        </ul>
      )}
      {progress.segments.length > 0 && <Transcript segments={progress.segments} />}
      {progress.reasoning && <Reasoning text={progress.reasoning} />}
      {progress.text && <Answer text={progress.text} />}
      {progress.outputs.length > 0 && <Frames frames={progress.outputs} />}
    </>
  );
}
