/** Finds the output files in a job's results, in the one order that a statement lists them in. */

import type { Json } from "./shape.js";

const ARTIFACT_ID = /^sha256:[0-9a-f]{64}$/;

/** A file that a job made. `artifactId` is `sha256:<hex>`, `size` is in bytes. */
export interface OutputFile {
  artifactId: string;
  url: string;
  name: string;
  mediaType: string;
  size: number;
}

/**
 * The output files in `results`, in the order in which they stand in its canonical JSON.
 *
 * An output file is an object that holds at least `artifact_id` (`sha256:<hex>`), `url`, `media_type`, `size` and
 * `name`. The order of the canonical form survives databases and languages that do not keep the order of keys.
 */
export function outputFiles(results: Json): OutputFile[] {
  if (Array.isArray(results)) return results.flatMap(outputFiles);
  if (typeof results !== "object" || results === null) return [];
  const file = outputFile(results);
  if (file !== undefined) return [file];
  // Strings are sorted by their UTF-16 code units, as canonical JSON wants it.
  return Object.keys(results)
    .sort()
    .flatMap((name) => outputFiles(results[name] ?? null));
}

function outputFile(value: { [name: string]: Json }): OutputFile | undefined {
  const { artifact_id: artifactId, name, media_type: mediaType, size, url } = value;
  if (typeof artifactId !== "string" || !ARTIFACT_ID.test(artifactId)) return undefined;
  if (typeof name !== "string" || typeof mediaType !== "string" || typeof url !== "string") return undefined;
  if (typeof size !== "number" || !Number.isInteger(size)) return undefined;
  return { artifactId, url, name, mediaType, size };
}
