/** What a running job has made so far. */
import type { Job } from "@aitbc/client";
import { Answer } from "../../results/answer.tsx";
import { Frames } from "../../results/frames.tsx";
import { Transcript } from "../../results/transcript.tsx";
import type { Told } from "./told.ts";

export function Live({ told, job }: { told: Told; job: Job }) {
  const previews = Object.entries(told.previews);
  return (
    <>
      {previews.length > 0 && (
        <ul class="gallery">
          {previews.map(([index, url]) => (
            <li key={index}>
              <figure class="picture">
                <img src={url} alt={`Sketch ${Number(index) + 1} of ${job.name}`} />
                <figcaption>Sketch</figcaption>
              </figure>
            </li>
          ))}
        </ul>
      )}
      {told.segments.length > 0 && <Transcript segments={told.segments} />}
      {told.text && <Answer text={told.text} />}
      {told.outputs.length > 0 && <Frames frames={told.outputs} />}
    </>
  );
}
