/**
 * The exact bytes behind every digest and signature: canonical JSON, SHA-256, strict base64.
 *
 * Two programs agree on a signature only when they agree on bytes, so each value has exactly one accepted spelling here.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import canonicalizeModule from "canonicalize";
import { FormatError } from "../errors.js";
import type { Json } from "./shape.js";

/** The package is this function; its types say that it has one as `default`. */
const canonicalize = canonicalizeModule as unknown as (value: unknown) => string | undefined;
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const ENCODER = new TextEncoder();
/** How `JSON.stringify` writes a lone surrogate; a backslash of the text itself is doubled. */
const LONE_SURROGATE = /(?<!\\)(?:\\\\)*\\ud[89a-f]/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
/** What a JSON text is made of, as far as it matters for repeated keys and for numbers that are too large. */
const TOKENS = /"(?:[^"\\]|\\.)*"|[{}[\],:]|-?[0-9][0-9.eE+-]*/g;
/** Bytes that are turned into text at a time: a call takes only so many arguments. */
const SLICE = 0x8000;

/**
 * The RFC 8785 (JCS) bytes of a JSON value.
 *
 * Throws `FormatError` for what JSON cannot hold exactly: NaN and infinities, lone surrogates, and types other than
 * JSON's own.
 */
export function canonicalJson(value: unknown): Uint8Array<ArrayBuffer> {
  let text: string | undefined;
  try {
    requireJson(value);
    text = canonicalize(value);
  } catch (error) {
    if (error instanceof FormatError) throw error;
    // Too many levels end the stack.
    throw new FormatError("The value is nested too deeply for canonical JSON.", { cause: error });
  }
  if (text === undefined || LONE_SURROGATE.test(text)) {
    throw new FormatError("The value has no canonical JSON form: it has text that is not Unicode.");
  }
  return ENCODER.encode(text);
}

function requireJson(value: unknown): void {
  switch (typeof value) {
    case "string":
    case "boolean":
      return;
    case "number":
      if (Number.isFinite(value)) return;
      break;
    case "object":
      if (value === null) return;
      if (isPlain(value)) {
        for (const item of Object.values(value)) requireJson(item);
        return;
      }
  }
  throw new FormatError("The value has no canonical JSON form: it holds what JSON cannot.");
}

function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  return Array.isArray(value) || prototype === Object.prototype || prototype === null;
}

/**
 * Read JSON strictly: UTF-8, no repeated keys, no numbers that are infinite.
 *
 * Integers beyond 2^53 - 1 become the nearest number, as everywhere in JavaScript. Throws `FormatError`.
 */
export function parseJson(text: string | Uint8Array): Json {
  const source = typeof text === "string" ? text : decodeUtf8(text);
  let value: Json;
  try {
    value = JSON.parse(source);
  } catch (error) {
    throw new FormatError(`This is not valid JSON: ${(error as Error).message}.`, { cause: error });
  }
  requireSingleKeys(source);
  return value;
}

/** Throw `FormatError` for an object that repeats a key. `source` is valid JSON. */
function requireSingleKeys(source: string): void {
  const open: (Set<string> | undefined)[] = [];
  let key = "";
  for (const [token] of source.matchAll(TOKENS)) {
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(undefined);
    else if (token === "}" || token === "]") open.pop();
    else if (token[0] === '"') key = token;
    else if (token === ":") {
      // Two spellings of a key are one key.
      const name: string = JSON.parse(key);
      const keys = open.at(-1);
      if (keys?.has(name)) throw new FormatError("A JSON object repeats a key.");
      keys?.add(name);
    } else if (token !== "," && !Number.isFinite(Number(token))) {
      throw new FormatError("A JSON number is too large.");
    }
  }
}

/** The text of UTF-8 bytes. Throws `FormatError`. */
export function decodeUtf8(data: Uint8Array): string {
  try {
    return UTF8.decode(data);
  } catch (error) {
    throw new FormatError("The text is not UTF-8.", { cause: error });
  }
}

/** The UTF-8 bytes of a text. */
export function utf8(text: string): Uint8Array<ArrayBuffer> {
  return ENCODER.encode(text);
}

/** The SHA-256 of `data` in lower-case hex. */
export function sha256Hex(data: Uint8Array): string {
  return bytesToHex(sha256(data));
}

/** Standard base64 with padding (RFC 4648, section 4). */
export function encodeBase64(data: Uint8Array): string {
  let text = "";
  for (let start = 0; start < data.length; start += SLICE) {
    text += String.fromCharCode(...data.subarray(start, start + SLICE));
  }
  return btoa(text);
}

/**
 * The bytes of canonical standard base64.
 *
 * Throws `FormatError` for every other spelling: white space, missing padding, other alphabets, and trailing bits that
 * are not zero.
 */
export function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  if (!BASE64.test(text)) throw new FormatError("This is not standard base64.");
  const data = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  if (encodeBase64(data) !== text) throw new FormatError("This is not canonical base64.");
  return data;
}

/** Whether two byte strings are the same. */
export function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}
