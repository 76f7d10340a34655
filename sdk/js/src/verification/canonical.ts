/**
 * The exact bytes behind every digest and signature: canonical JSON, SHA-256, strict base64.
 *
 * Programs must agree on bytes to agree on a signature, so each value has exactly one accepted encoding.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import canonicalize from "canonicalize";
import { FormatError } from "../errors.js";
import type { Json } from "./shape.js";

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const ENCODER = new TextEncoder();
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
/** The JSON tokens that matter for repeated keys and for numbers that are too large. */
const TOKENS = /"(?:[^"\\]|\\.)*"|[{}[\],:]|-?[0-9][0-9.eE+-]*/g;
/** Bytes that are converted to text at a time, because the number of arguments of a call is limited. */
const SLICE = 0x8000;

/**
 * Return the RFC 8785 (JCS) bytes of a JSON value.
 *
 * Throws `FormatError` for values that JSON cannot represent exactly: NaN, infinities, lone surrogates, and types other
 * than JSON's own.
 */
export function canonicalJson(value: unknown): Uint8Array<ArrayBuffer> {
  let text: string;
  try {
    requireJson(value);
    text = canonicalize(value) as string;
  } catch (error) {
    if (error instanceof FormatError) throw error;
    // Deep nesting overflows the stack, whose error's name depends on the engine.
    const why =
      (error as Error).name === "Error"
        ? "The value has no canonical JSON form: it has text that is not Unicode."
        : "The value is nested too deeply for canonical JSON.";
    throw new FormatError(why, { cause: error });
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
 * Parse JSON strictly: UTF-8, no repeated keys, no infinite numbers.
 *
 * Integers beyond 2^53 - 1 become the nearest representable number, as always in JavaScript. Throws `FormatError`.
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

/** Throw `FormatError` if an object repeats a key or a number is too large. `source` is valid JSON. */
function requireSingleKeys(source: string): void {
  const open: (Set<string> | undefined)[] = [];
  let text = "";
  for (const [token] of source.matchAll(TOKENS)) {
    switch (token[0]) {
      case "{":
        open.push(new Set());
        break;
      case "[":
        open.push(undefined);
        break;
      case "}":
      case "]":
        open.pop();
        break;
      case '"':
        text = token;
        break;
      case ":":
        addKey(open.at(-1), text);
        break;
      case ",":
        break;
      default:
        if (!Number.isFinite(Number(token))) throw new FormatError("A JSON number is too large.");
    }
  }
}

function addKey(keys: Set<string> | undefined, text: string): void {
  // Different escapes can spell the same key.
  const key: string = JSON.parse(text);
  if (keys?.has(key)) throw new FormatError("A JSON object repeats a key.");
  keys?.add(key);
}

/** Decode UTF-8. Throws `FormatError`. */
export function decodeUtf8(data: Uint8Array): string {
  try {
    return UTF8.decode(data);
  } catch (error) {
    throw new FormatError("The text is not UTF-8.", { cause: error });
  }
}

/** Encode a text as UTF-8. */
export function utf8(text: string): Uint8Array<ArrayBuffer> {
  return ENCODER.encode(text);
}

/** Return the SHA-256 of `data` in lower-case hex. */
export function sha256Hex(data: Uint8Array): string {
  return bytesToHex(sha256(data));
}

/** Encode as standard base64 with padding (RFC 4648, section 4). */
export function encodeBase64(data: Uint8Array): string {
  let text = "";
  for (let start = 0; start < data.length; start += SLICE) {
    text += String.fromCharCode(...data.subarray(start, start + SLICE));
  }
  return btoa(text);
}

/**
 * Decode canonical standard base64.
 *
 * Throws `FormatError` for every other encoding: white space, missing padding, other alphabets, and non-zero trailing
 * bits.
 */
export function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  if (!BASE64.test(text)) throw new FormatError("This is not standard base64.");
  const data = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  if (encodeBase64(data) !== text) throw new FormatError("This is not canonical base64.");
  return data;
}

/** Return whether two byte strings are equal. */
export function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}
