/** A converted file, with a player if browsers can play it. */
import { Facts } from "../components/figures/figures.tsx";
import { Skeleton } from "../components/skeleton.tsx";
import { size } from "../format/size.ts";
import { duration } from "../format/time.ts";
import { type OutputFile, useLink } from "./files.tsx";

export interface Converted {
  file: OutputFile;
  duration: number;
  width: number | null;
  height: number | null;
  codec: string | null;
}

export function Media({ result }: { result: Converted }) {
  const { file, width, height, codec } = result;
  const facts: [string, string | undefined][] = [
    ["Duration", duration(result.duration)],
    ["Resolution", width && height ? `${width} × ${height}` : undefined],
    ["Codec", codec ?? undefined],
    ["Size", size(file.size)],
  ];
  return (
    <div class="stack">
      <Player file={file} />
      <Facts items={facts} />
    </div>
  );
}

export function Player({ file }: { file: OutputFile }) {
  const url = useLink(file.artifact_id);
  const kind = file.media_type.split("/")[0];
  if (kind !== "video" && kind !== "audio" && kind !== "image") return null;
  if (!url) return <Skeleton height={kind === "audio" ? "3.5rem" : "16rem"} />;
  if (kind === "image") return <img src={url} alt={file.name} />;
  const shared = { class: "player", src: url, controls: true, "aria-label": file.name } as const;
  if (kind === "audio") {
    return <audio {...shared} preload="metadata" />;
  }
  return <video {...shared} preload="metadata" playsInline />;
}
