/**
 * Verifies a whole log: that it extends the checkpoints seen before, and that its leaves match its checkpoint.
 *
 * A log can cheat in three ways. It can change a leaf, whose hash then differs from the one in the tiles. It can show
 * different leaves to different people (fork); then an earlier checkpoint is not a prefix of the latest one. It can drop
 * leaves (truncate); then the latest checkpoint is smaller than an earlier one. The report names each of these.
 */

import type { Log } from "../calls/log.js";
import { scaled } from "../decimals.js";
import { APIError, FormatError, VerificationError } from "../errors.js";
import { decodeBase64, parseJson, sameBytes, utf8 } from "./canonical.js";
import { MANIFEST_TYPE, parseManifest } from "./leaves/payouts.js";
import { parseSettlement, SETTLEMENT_TYPE } from "./leaves/settlement.js";
import { parseVerdict, VERDICT_TYPE } from "./leaves/verdict.js";
import type { Checkpoint } from "./log.js";
import { consistencyProof, fold, leafHash, rootHash, verifyConsistency } from "./merkle.js";
import { type Note, parseNote } from "./notes.js";
import { expectWitnesses, type Policy } from "./policy.js";
import { type Check, failuresOf, Report } from "./report.js";
import type { JsonObject } from "./shape.js";
import { PAYLOAD_TYPE, parseStatement } from "./statement.js";
import {
  decodeEntries,
  splitHashes,
  TILE_WIDTH,
  type Tile,
  TiledTree,
  tilePath,
  tilesOf,
  tileWidth,
} from "./tiles.js";

/** Changed leaves that are reported one by one; of more, only their number is reported. */
const NAMED_LEAVES = 20;
const MISSING: ReadonlySet<number> = new Set([404, 410]);

/** Reads a file of a log (c2sp.org/tlog-tiles): `checkpoint` or `tile/...`; undefined if it does not exist. */
export type LogSource = (path: string) => Promise<Uint8Array | undefined>;

/** Return the log of a coordinator, read with `client.log`. */
export function coordinatorLog(log: Log, options: { signal?: AbortSignal | undefined } = {}): LogSource {
  return async (path) => {
    try {
      return path === "checkpoint" ? utf8(await log.checkpoint(options)) : await log.tile(path, options);
    } catch (error) {
      if (error instanceof APIError && MISSING.has(error.status)) return undefined;
      throw error;
    }
  };
}

/** The outcome of verifying a log. `checkpoint` and `note` are set if a log of the policy signed them. */
export class LogReport {
  checks: readonly Check[] = [];
  checkpoint: Checkpoint | undefined;
  note: Note | undefined;
  receipts = 0;
  settlements = 0;
  payouts = 0;
  verdicts = 0;
  others = 0;

  /** Whether all checks passed. */
  get valid(): boolean {
    return this.checkpoint !== undefined && this.checks.every(({ ok }) => ok);
  }

  /** One line for each failed check. */
  get failures(): string[] {
    return failuresOf(this.checks);
  }
}

/** Options of verifying a log. */
export interface VerifyLogOptions {
  /** Checkpoints seen before, by a name for the report. */
  previous?: Record<string, Checkpoint> | undefined;
  /** The first leaf to verify. */
  first?: number | undefined;
}

/**
 * Verify the log in `source` against the policy. Problems are reported; errors of reading the source are thrown.
 */
export async function verifyLog(
  source: LogSource,
  policy: Policy,
  { previous = {}, first = 0 }: VerifyLogOptions = {},
): Promise<LogReport> {
  const report = new Report();
  const outcome = new LogReport();
  outcome.checks = report.checks;
  const files = new Files(source);
  const content = await files.read("checkpoint");
  const note = report.attempt("checkpoint", () => readNote(content));
  const checkpoint = note && report.attempt("checkpoint", () => policy.open(note));
  if (note === undefined || checkpoint === undefined) return outcome;
  outcome.note = note;
  outcome.checkpoint = checkpoint;
  report.expect("checkpoint", true, `${checkpoint.origin} signs for ${checkpoint.size} leaves`, "");
  expectWitnesses(report, policy, note);
  const tree = await report.attemptLater("tree", () => requireTree(files, checkpoint));
  if (tree !== undefined) {
    report.expect("tree", true, "the tiles have the root of the checkpoint", "");
    await new Leaves(files, checkpoint.size, report, outcome).verify(first);
  }
  for (const [name, old] of Object.entries(previous)) await compare(report, files, checkpoint, name, old);
  return outcome;
}

function readNote(content: Uint8Array | undefined): Note {
  if (content === undefined) {
    throw new VerificationError(
      "There is no checkpoint here. A coordinator's log is at the coordinator's address with /v1/log.",
    );
  }
  return parseNote(content);
}

/**
 * A source that returns the same content each time, so that all checks see the same log.
 *
 * It caches the tiles above level 0 and the right edge, a 256th of the log. Full tiles and bundles of level 0 are read only
 * once anyway.
 */
class Files {
  readonly #cache = new Map<string, Uint8Array | undefined>();

  constructor(private readonly source: LogSource) {}

  async read(path: string): Promise<Uint8Array | undefined> {
    const isFull = path.startsWith("tile/0/") && !path.includes(".p/");
    if (path.startsWith("tile/entries/") || isFull) return this.source(path);
    if (!this.#cache.has(path)) this.#cache.set(path, await this.source(path));
    return this.#cache.get(path);
  }

  /** Return a tile or bundle. A partial one that was replaced by the full one is read from that. */
  async tile(tile: Tile): Promise<Uint8Array> {
    const path = tilePath(tile);
    const content =
      (await this.read(path)) ??
      (tile.width < TILE_WIDTH ? await this.read(tilePath({ ...tile, width: TILE_WIDTH })) : undefined);
    if (content === undefined) throw new VerificationError(`The log lacks ${path}.`);
    return content;
  }

  tree(size: number): TiledTree {
    return new TiledTree((tile) => this.tile(tile), size);
  }
}

async function requireTree(files: Files, { size, root }: Checkpoint): Promise<true> {
  if (!sameBytes(await rootHash(files.tree(size).node, size), root)) {
    throw new VerificationError("The tiles do not have the root of the checkpoint.");
  }
  return true;
}

/** Report whether the log extends a checkpoint seen before. */
async function compare(
  report: Report,
  files: Files,
  newest: Checkpoint,
  name: string,
  old: Checkpoint,
): Promise<void> {
  if (old.origin !== newest.origin) {
    report.expect(name, false, "", `is of the log ${old.origin}, not of ${newest.origin}`);
  } else if (old.size > newest.size) {
    const bad = `the log was truncated: it had ${old.size} leaves, and signs for ${newest.size} now`;
    report.expect(name, false, "", bad);
  } else {
    const continued = await report.attemptLater(name, async () => {
      const hashes = await consistencyProof(files.tree(newest.size).node, old.size, newest.size);
      return verifyConsistency(old.size, old.root, newest.size, newest.root, hashes);
    });
    if (continued === undefined) return;
    report.expect(
      name,
      continued,
      `its ${old.size} leaves are the beginning of the log`,
      `the log was forked: its first ${old.size} leaves are not those that it signed before`,
    );
  }
}

/** Compares all leaves and tiles, from left to right. */
class Leaves {
  readonly #prices = new Map<string, string>();
  readonly #paid = new Map<string, string>();
  #changed = 0;

  constructor(
    private readonly files: Files,
    private readonly size: number,
    private readonly report: Report,
    private readonly outcome: LogReport,
  ) {}

  /** Verify the leaves from `first` on, and all tiles above them. */
  async verify(first: number): Promise<void> {
    const folds: Uint8Array[] = [];
    for (const bundle of tilesOf(this.size, null)) {
      if ((bundle.index + 1) * TILE_WIDTH <= first && bundle.width === TILE_WIDTH) continue;
      const hashes = await this.report.attemptLater("leaves", () => this.#bundle(bundle));
      if (hashes === undefined) return;
      if (bundle.width === TILE_WIDTH) folds.push(fold(hashes));
    }
    if (this.#changed > NAMED_LEAVES) {
      this.report.expect("leaves", false, "", `${this.#changed} leaves were changed in all`);
    }
    if (this.#changed === 0) {
      this.report.expect(
        "leaves",
        true,
        `those from ${first} to ${this.size} have the hashes in the tiles`,
        "",
      );
    }
    const start = Math.floor(first / TILE_WIDTH);
    if (await this.report.attemptLater("tiles", () => this.#upperTiles(start, folds))) {
      this.report.expect("tiles", true, "every tile follows from the ones below it", "");
    }
    const { receipts, settlements, payouts, verdicts, others } = this.outcome;
    const counted = `${receipts} receipts, ${settlements} settlements, ${payouts} payouts, ${verdicts} verdicts, ${others} others`;
    this.report.expect("content", true, counted, "");
  }

  /** Verify one bundle against its tile, and return the tile's hashes. */
  async #bundle(bundle: Tile): Promise<Uint8Array[]> {
    const entries = decodeEntries(await this.files.tile(bundle)).slice(0, bundle.width);
    if (entries.length !== bundle.width) {
      throw new VerificationError(`${tilePath(bundle)} has ${entries.length} entries.`);
    }
    const tile = { ...bundle, level: 0 };
    const hashes = splitHashes(await this.files.tile(tile)).slice(0, bundle.width);
    if (hashes.length !== bundle.width) {
      throw new VerificationError(`${tilePath(tile)} has ${hashes.length} hashes.`);
    }
    for (const [position, entry] of entries.entries()) {
      const index = bundle.index * TILE_WIDTH + position;
      if (sameBytes(leafHash(entry), hashes[position] ?? new Uint8Array())) {
        this.#content(index, entry);
        continue;
      }
      this.#changed += 1;
      if (this.#changed <= NAMED_LEAVES) {
        const bad = "was changed: it does not have its hash in the tile";
        this.report.expect(`leaf ${index}`, false, "", bad);
      }
    }
    return hashes;
  }

  /** Verify every tile above level 0 against the tiles below it, from tile `start` of level 0 on. */
  async #upperTiles(start: number, folds: Uint8Array[]): Promise<true> {
    let [below, begin] = [folds, start];
    for (let level = 1; tileWidth(this.size, level, 0) > 0; level++) {
      const above: Uint8Array[] = [];
      const last = Math.ceil((begin + below.length) / TILE_WIDTH);
      for (let index = Math.floor(begin / TILE_WIDTH); index < last; index++) {
        const tile = { level, index, width: tileWidth(this.size, level, index) };
        const hashes = splitHashes(await this.files.tile(tile)).slice(0, tile.width);
        const from = Math.max(begin, index * TILE_WIDTH);
        const expected = below.slice(from - begin, (index + 1) * TILE_WIDTH - begin);
        const found = hashes.slice(from - index * TILE_WIDTH);
        const follows =
          found.length === expected.length &&
          found.every((hash, position) => sameBytes(hash, expected[position] ?? new Uint8Array()));
        if (!follows) {
          throw new VerificationError(`${tilePath(tile)} does not follow from the tiles below it.`);
        }
        if (tile.width === TILE_WIDTH) above.push(fold(hashes));
      }
      [begin, below] = [Math.floor(begin / TILE_WIDTH), above];
    }
    return true;
  }

  /** Count a leaf, and verify that a settlement pays the price in the receipt of its job. */
  #content(index: number, entry: Uint8Array): void {
    try {
      const fields = parseJson(entry);
      const isObject = typeof fields === "object" && fields !== null && !Array.isArray(fields);
      this.#count(index, entry, isObject ? fields : {});
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      this.report.expect(`leaf ${index}`, false, "", `is malformed: ${error.message.replace(/\.$/, "")}`);
    }
  }

  #count(index: number, entry: Uint8Array, fields: JsonObject): void {
    if (fields._type === SETTLEMENT_TYPE) {
      const { jobId, receiptId, paid } = parseSettlement(entry);
      this.outcome.settlements += 1;
      if (receiptId !== null) this.#match(index, jobId, this.#paid, paid, this.#prices);
    } else if (fields._type === MANIFEST_TYPE) {
      parseManifest(entry);
      this.outcome.payouts += 1;
    } else if (fields._type === VERDICT_TYPE) {
      parseVerdict(entry);
      this.outcome.verdicts += 1;
    } else if (fields.payloadType === PAYLOAD_TYPE) {
      this.outcome.receipts += 1;
      if (!("payload" in fields)) return;
      const { jobId, price } = parseStatement(decodeBase64(String(fields.payload)));
      this.#match(index, jobId, this.#prices, price, this.#paid);
    } else {
      this.outcome.others += 1;
    }
  }

  #match(
    index: number,
    jobId: string,
    mine: Map<string, string>,
    amount: string,
    others: Map<string, string>,
  ): void {
    const other = others.get(jobId);
    if (other === undefined) {
      mine.set(jobId, amount);
      return;
    }
    others.delete(jobId);
    if (scaled(other) !== scaled(amount)) {
      const bad = `${jobId} was settled for another price than its receipt says`;
      this.report.expect(`leaf ${index}`, false, "", bad);
    }
  }
}
