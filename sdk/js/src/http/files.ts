/** Files to upload: a path in Node, a File or Blob, bytes, or a stream. */

import { collected, piecesOf } from "../bytes.js";
import { FormatError } from "../errors.js";
import { nodeModule } from "./platform.js";

/**
 * A file to upload: a `File` or `Blob`, bytes, a stream of bytes (a `ReadableStream` or any async iterable, such as a Node
 * stream), or in Node the path of a file.
 */
export type Uploadable =
  | Blob
  | Uint8Array
  | ArrayBuffer
  | ReadableStream<Uint8Array>
  | AsyncIterable<Uint8Array>
  | string;

/** Called with the bytes transferred so far, and the total bytes if known. */
export type OnProgress = (done: number, total: number | undefined) => void;

/** A file's name, media type and content. A blob can be read again, an iterator cannot. */
export interface Source {
  readonly name: string;
  readonly mediaType: string;
  readonly content: Blob | AsyncIterator<Uint8Array>;
}

/** Larger files use resumable or direct uploads. Sending a smaller file again is as fast as resuming it. */
export const RESUMABLE = 8 * 2 ** 20;

const ANY = "application/octet-stream";

/** Media types of the services' input and output files; other files are `application/octet-stream`. */
const MEDIA_TYPES: Readonly<Record<string, string>> = {
  avi: "video/x-msvideo",
  blend: "application/x-blender",
  csv: "text/csv",
  exr: "image/x-exr",
  flac: "audio/flac",
  gif: "image/gif",
  jpeg: "image/jpeg",
  jpg: "image/jpeg",
  json: "application/json",
  m4a: "audio/mp4",
  mkv: "video/x-matroska",
  mov: "video/quicktime",
  mp3: "audio/mpeg",
  mp4: "video/mp4",
  oga: "audio/ogg",
  ogg: "audio/ogg",
  opus: "audio/ogg",
  png: "image/png",
  py: "text/x-python",
  txt: "text/plain",
  wav: "audio/wav",
  webm: "video/webm",
  webp: "image/webp",
  zip: "application/zip",
};

/** Return the source of an upload. Throws errors of reading the file, and `TypeError` for a path in a browser. */
export async function sourceOf(content: Uploadable, mediaType?: string): Promise<Source> {
  if (typeof content === "string") {
    const { openAsBlob } = await nodeModule<typeof import("node:fs")>("node:fs");
    const name = content.split(/[\\/]/).at(-1) ?? "";
    const type = mediaType ?? guessed(name);
    return { name, mediaType: type, content: await openAsBlob(content, { type }) };
  }
  if (content instanceof Blob) {
    const name = "name" in content && typeof content.name === "string" ? content.name : "";
    return { name, mediaType: mediaType ?? (content.type || guessed(name)), content };
  }
  const named = { name: "", mediaType: mediaType ?? ANY };
  if (content instanceof Uint8Array || content instanceof ArrayBuffer) {
    return { ...named, content: new Blob([content as BlobPart]) };
  }
  if (content instanceof ReadableStream) return { ...named, content: piecesOf(content) };
  if (Symbol.asyncIterator in content) return { ...named, content: content[Symbol.asyncIterator]() };
  throw new FormatError("Cannot upload this: it is not a path, File, Blob, bytes or a stream.");
}

/** Return the content as a blob. Reads a stream into memory. */
export async function blobOf(source: Source): Promise<Blob> {
  if (source.content instanceof Blob) return source.content;
  const pieces = await collected(iterable(source.content));
  return new Blob(pieces as BlobPart[], { type: source.mediaType });
}

function guessed(name: string): string {
  return MEDIA_TYPES[name.split(".").at(-1)?.toLowerCase() ?? ""] ?? ANY;
}

/** Return an iterator as something to loop over. */
export function iterable(content: AsyncIterator<Uint8Array>): AsyncIterable<Uint8Array> {
  return { [Symbol.asyncIterator]: () => content };
}
