/** Finds the output files in a job's results, in the order of the signed statement. */

import type { Json } from "./shape.js";

const ARTIFACT_ID = /^sha256:[0-9a-f]{64}$/;

/** An output file of a job. `artifactId` is `sha256:<hex>`, `size` is in bytes. */
export interface OutputFile {
  artifactId: string;
  url: string;
  name: string;
  mediaType: string;
  size: number;
}

/**
 * Return the output files in `results`, in the order of its canonical JSON.
 *
 * An output file is an object with at least `artifact_id` (`sha256:<hex>`), `url`, `media_type`, `size` and `name`. The
 * canonical order does not depend on databases and languages that do not preserve the order of keys.
 */
export function outputFiles(results: Json): OutputFile[] {
  if (Array.isArray(results)) return results.flatMap(outputFiles);
  if (typeof results !== "object" || results === null) return [];
  const file = outputFile(results);
  if (file !== undefined) return [file];
  // `sort` compares UTF-16 code units, as canonical JSON does.
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
