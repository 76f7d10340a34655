/**
 * Trust policies: the trusted logs, and the witnesses that must have cosigned a checkpoint.
 *
 * Source: https://c2sp.org/tlog-policy. The smallest policy names a log and requires no witness:
 *
 * ```text
 * log example.org/log+d6ee6a7c+ATBv...
 * quorum none
 * ```
 *
 * In addition to that format, a policy must name at least one log, and each origin only once, so that an origin has one key.
 */

import { bytesToHex } from "@noble/hashes/utils.js";
import { FormatError, VerificationError } from "../errors.js";
import { decodeUtf8, utf8 } from "./canonical.js";
import { COSIGNATURE_TYPE, parseVkey } from "./keys.js";
import { type Checkpoint, openCheckpoint, parseCheckpoint } from "./log.js";
import { findCosignature, type Note } from "./notes.js";
import type { Report } from "./report.js";

const MAX_LINES = 1000;
const MAX_NAMES = 200;
// biome-ignore lint/suspicious/noControlCharactersInRegex: matches control characters, which are not allowed in a policy
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f]/;
const BLANK = /[ \t]+/;
const THRESHOLD = /^[1-9][0-9]{0,5}$/;
const NONE = "none";

/** A group of witnesses. At least `threshold` of its `members` (witnesses or groups) must have cosigned. */
export interface Group {
  threshold: number;
  members: readonly string[];
}

/** Trusted logs by origin, witnesses by name (both as vkeys), and the `quorum`: a witness, a group, or `none`. */
export class Policy {
  constructor(
    readonly logs: ReadonlyMap<string, string>,
    readonly witnesses: ReadonlyMap<string, string>,
    readonly groups: ReadonlyMap<string, Group>,
    readonly quorum: string,
  ) {}

  /** Trust one log, without witnesses. Throws `FormatError` for a malformed vkey. */
  static ofLog(logKey: string): Policy {
    return new Policy(new Map([[parseVkey(logKey).name, logKey]]), new Map(), new Map(), NONE);
  }

  /** Return the vkey of the log with this origin. A policy of one log returns its vkey for any origin. */
  logKey(origin: string): string | undefined {
    const [only] = this.logs.values();
    return this.logs.size === 1 ? only : this.logs.get(origin);
  }

  /** Return the checkpoint of a note that one of the logs signed. Throws `FormatError` or `VerificationError`. */
  open(note: Note): Checkpoint {
    const { origin } = parseCheckpoint(note.text);
    const key = this.logKey(origin);
    if (key === undefined) throw new VerificationError(`The policy does not name the log ${origin}.`);
    return openCheckpoint(note, key);
  }

  /**
   * Return the times (seconds since the epoch) at which witnesses cosigned a checkpoint, by the witness's name.
   *
   * Throws `VerificationError` if a witness's cosignature does not verify.
   */
  cosignedBy(note: Note): Map<string, number> {
    const found = new Map<string, number>();
    for (const [name, key] of this.witnesses) {
      const timestamp = findCosignature(note, key);
      if (timestamp !== undefined) found.set(name, timestamp);
    }
    return found;
  }

  /** Return whether these witnesses meet the quorum. */
  isMetBy(witnesses: ReadonlyMap<string, number>): boolean {
    return this.quorum === NONE || this.#witnessed(this.quorum, witnesses);
  }

  #witnessed(name: string, witnesses: ReadonlyMap<string, number>): boolean {
    const group = this.groups.get(name);
    if (group === undefined) return witnesses.has(name);
    return group.members.filter((member) => this.#witnessed(member, witnesses)).length >= group.threshold;
  }
}

/** Return the sorted names of the witnesses that cosigned a checkpoint. */
export function witnessNames(cosigned: ReadonlyMap<string, number>): string {
  return [...cosigned.keys()].sort().join(", ") || "none";
}

/** Report whether the witnesses that cosigned a note meet the policy's quorum. */
export function expectWitnesses(report: Report, policy: Policy, note: Note): void {
  const cosigned = report.attempt("witnesses", () => policy.cosignedBy(note));
  if (cosigned === undefined) return;
  const names = witnessNames(cosigned);
  report.expect(
    "witnesses",
    policy.isMetBy(cosigned),
    `cosigned by ${names}; the policy asks for ${policy.quorum}`,
    `cosigned by ${names}, but the policy asks for ${policy.quorum}`,
  );
}

/** Parse a policy. Throws `FormatError`, which names the line. A function of its own, so that bundlers can leave it out. */
export function parsePolicy(content: string | Uint8Array): Policy {
  const data = typeof content === "string" ? utf8(content) : content;
  // In this format, bytes above 0x7F are opaque.
  const lines = Array.from(data, (byte) => String.fromCharCode(byte))
    .join("")
    .split("\n");
  if (lines.length > MAX_LINES) throw new FormatError(`The policy has more than ${MAX_LINES} lines.`);
  const parser = new Parser();
  for (const [index, line] of lines.entries()) {
    try {
      parser.add(line);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      throw new FormatError(`Line ${index + 1} of the policy: ${error.message}`, { cause: error });
    }
  }
  if (parser.logs.size === 0) throw new FormatError("The policy names no log.");
  if (parser.quorum === undefined) {
    throw new FormatError("The policy has no quorum line; `quorum none` asks for no witness.");
  }
  return new Policy(parser.logs, parser.witnesses, parser.groups, parser.quorum);
}

/** Collects the definitions of a policy's lines. */
class Parser {
  readonly logs = new Map<string, string>();
  readonly witnesses = new Map<string, string>();
  readonly groups = new Map<string, Group>();
  quorum: string | undefined;
  readonly #keys = new Set<string>();
  readonly #members = new Set<string>();

  add(line: string): void {
    if (CONTROL.test(line)) throw new FormatError("it has a control character.");
    const [kind, first, second, ...rest] = line.split(BLANK).filter((word) => word !== "");
    if (kind === undefined || kind.startsWith("#")) return;
    // The last word of a log or witness is an optional URL.
    if (kind === "log" && first !== undefined && rest.length === 0) {
      this.#log(utf8Word(first));
    } else if (kind === "witness" && first !== undefined && second !== undefined && rest.length <= 1) {
      this.#witness(first, utf8Word(second));
    } else if (kind === "group" && first !== undefined && second !== undefined && rest.length > 0) {
      this.#group(first, second, rest);
    } else if (kind === "quorum" && first !== undefined && second === undefined) {
      this.#quorum(first);
    } else {
      throw new FormatError(
        "it is not one of `log VKEY [URL]`, `witness NAME VKEY [URL]`, `group NAME all|any|K NAME...` and `quorum NAME`.",
      );
    }
  }

  #log(key: string): void {
    const { name, publicKey } = parseVkey(key);
    if (this.logs.has(name)) throw new FormatError(`the log ${name} is named twice.`);
    this.#newKey("log", publicKey);
    this.logs.set(name, key);
  }

  #witness(name: string, key: string): void {
    this.#newName(name);
    this.#newKey("witness", parseVkey(key, COSIGNATURE_TYPE).publicKey);
    this.witnesses.set(name, key);
  }

  #group(name: string, threshold: string, members: readonly string[]): void {
    this.#newName(name);
    for (const member of members) {
      if (!this.witnesses.has(member) && !this.groups.has(member)) {
        throw new FormatError(`${member} was not defined before.`);
      }
      if (this.#members.has(member)) {
        throw new FormatError(`${member} is already a member of this group or another.`);
      }
      this.#members.add(member);
    }
    const required =
      { any: 1, all: members.length }[threshold] ?? (THRESHOLD.test(threshold) ? Number(threshold) : 0);
    if (!(1 <= required && required <= members.length)) {
      throw new FormatError(`the threshold is \`all\`, \`any\`, or from 1 to ${members.length}.`);
    }
    this.groups.set(name, { threshold: required, members });
  }

  #quorum(name: string): void {
    if (this.quorum !== undefined) throw new FormatError("there is already a quorum.");
    if (name !== NONE && !this.witnesses.has(name) && !this.groups.has(name)) {
      throw new FormatError(`${name} was not defined before.`);
    }
    this.quorum = name;
  }

  #newName(name: string): void {
    if (name === NONE || this.witnesses.has(name) || this.groups.has(name)) {
      throw new FormatError(`the name ${name} is taken.`);
    }
    if (this.witnesses.size + this.groups.size >= MAX_NAMES) {
      throw new FormatError("it has too many witnesses and groups.");
    }
  }

  #newKey(kind: string, publicKey: Uint8Array): void {
    const key = `${kind} ${bytesToHex(publicKey)}`;
    if (this.#keys.has(key)) throw new FormatError("the key is named twice.");
    this.#keys.add(key);
  }
}

function utf8Word(word: string): string {
  try {
    return decodeUtf8(Uint8Array.from(word, (character) => character.charCodeAt(0)));
  } catch {
    throw new FormatError("the key's name is not UTF-8.");
  }
}
