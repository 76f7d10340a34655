/** A transcript with its recording: the current segment is highlighted, and clicking a segment plays it. */
import { useEffect, useRef, useState } from "preact/hooks";
import { position } from "../format/time.ts";
import { useLink } from "./files.tsx";

export interface Segment {
  start: number;
  end: number;
  text: string;
}

export interface TranscriptProps {
  segments: Segment[];
  /** The recording's artifact. A recording that the miner fetched from a URL is not stored. */
  recording?: string | undefined;
}

export function Transcript({ segments, recording }: TranscriptProps) {
  const player = useRef<HTMLAudioElement>(null);
  const list = useRef<HTMLOListElement>(null);
  const [at, setAt] = useState<number>();
  const url = useLink(recording);
  const here = at === undefined ? -1 : segments.findLastIndex((segment) => segment.start <= at);
  useEffect(() => {
    if (here >= 0) list.current?.children[here]?.scrollIntoView({ block: "nearest" });
  }, [here]);
  const seek = (segment: Segment) => {
    if (!player.current) return;
    player.current.currentTime = segment.start;
    setAt(segment.start);
    void player.current.play();
  };
  return (
    <div class="stack">
      {url && (
        // biome-ignore lint/a11y/useMediaCaption: the transcript below is the caption
        <audio
          ref={player}
          class="player"
          src={url}
          controls
          preload="metadata"
          aria-label="Recording"
          onTimeUpdate={(event) => setAt(event.currentTarget.currentTime)}
        />
      )}
      <ol class="transcript" ref={list}>
        {segments.map((segment, index) => (
          <li key={segment.start} aria-current={index === here ? "true" : undefined}>
            {url ? (
              <button type="button" onClick={() => seek(segment)}>
                <Passage segment={segment} />
              </button>
            ) : (
              <Passage segment={segment} />
            )}
          </li>
        ))}
      </ol>
    </div>
  );
}

function Passage({ segment }: { segment: Segment }) {
  return (
    <>
      <span class="transcript-time">{position(segment.start)}</span>
      <span>{segment.text.trim()}</span>
    </>
  );
}
