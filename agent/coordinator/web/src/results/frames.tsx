/** Rendered frames: one enlarged, and a strip of all frames below, sorted by number. Also used while frames arrive. */
import { useState } from "preact/hooks";
import { Skeleton } from "../components/skeleton.tsx";
import { Download, type OutputFile, useLink } from "./files.tsx";
import { Player } from "./media.tsx";

export interface Frame extends OutputFile {
  frame: number;
}

/** Formats that browsers display; others, such as EXR, can only be downloaded. */
const SHOWN = new Set(["image/png", "image/jpeg", "image/webp"]);

export function Frames({ frames, video }: { frames: Frame[]; video?: OutputFile | undefined }) {
  const [chosen, setChosen] = useState<number>();
  const sorted = [...frames].sort((one, other) => one.frame - other.frame);
  const frame = sorted.find((frame) => frame.frame === chosen) ?? sorted.at(-1);
  if (!frame) return null;
  return (
    <div class="stack">
      {video && <Player file={video} />}
      <figure class="stack picture" data-gap="2">
        <Shown frame={frame} alt={`Frame ${frame.frame}`} />
        <figcaption class="row" data-between="true">
          <span>Frame {frame.frame}</span>
          <Download file={frame} />
        </figcaption>
      </figure>
      {sorted.length > 1 && (
        <ol class="strip" aria-label="Frames">
          {sorted.map((other) => (
            <li key={other.frame}>
              <button
                type="button"
                aria-label={`Show frame ${other.frame}`}
                aria-pressed={other === frame}
                onClick={() => setChosen(other.frame)}
              >
                <Shown frame={other} alt="" />
                <span aria-hidden="true">{other.frame}</span>
              </button>
            </li>
          ))}
        </ol>
      )}
    </div>
  );
}

function Shown({ frame, alt }: { frame: Frame; alt: string }) {
  const shown = SHOWN.has(frame.media_type);
  const url = useLink(shown ? frame.artifact_id : undefined);
  if (!shown) return <p class="quiet">Browsers cannot display this format. Download the frame instead.</p>;
  return url ? <img src={url} alt={alt} loading="lazy" /> : <Skeleton height="4rem" />;
}
