/** The checks of a verification and their outcome. */

import { VerificationError } from "../errors.js";
import type { JsonObject } from "./shape.js";
import type { Statement } from "./statement.js";

/** One check of a verification: the `name` of the checked part, and a `message` about the outcome. */
export interface Check {
  name: string;
  ok: boolean;
  message: string;
}

/** The outcome of verifying a receipt. */
export class Verification {
  /**
   * @param valid - Whether all checks passed.
   * @param coordinatorAttestations - The number of attestations that the log's key signed and that agree with the statement.
   * @param statement - The miner's statement, if its signature and form are valid.
   * @param opened - The results in clear of a sealed job, if the client's key opened them.
   * @param logIndex - The number of the log's entry with the receipt, if that is proven.
   */
  constructor(
    readonly valid: boolean,
    readonly minerSignatureValid: boolean,
    readonly coordinatorAttestations: number,
    readonly checks: readonly Check[],
    readonly statement: Statement | undefined,
    readonly opened: JsonObject | undefined,
    readonly logIndex: number | undefined,
  ) {}

  /** One line for each failed check: the checked part, and the problem. */
  get failures(): string[] {
    return failuresOf(this.checks);
  }

  /** Throw `VerificationError` with all failures unless the receipt is valid. */
  throwForFailure(): void {
    if (!this.valid) throw new VerificationError(`The receipt is not valid: ${this.failures.join(" ")}`);
  }
}

/** Return one line for each failed check. */
export function failuresOf(checks: readonly Check[]): string[] {
  return checks.filter(({ ok }) => !ok).map(({ name, message }) => `${name}: ${message}`);
}

/** Collects checks. `statement` is set once the miner's signature is verified. */
export class Report {
  readonly checks: Check[] = [];
  signed = false;
  attested = 0;
  statement: Statement | undefined;
  opened: JsonObject | undefined;
  logIndex: number | undefined;

  /** Record a check, and return `ok`. */
  expect(name: string, ok: boolean, good: string, bad: string): boolean {
    this.checks.push({ name, ok, message: ok ? good : `${bad}.` });
    return ok;
  }

  /** Run `read`. Record a `VerificationError` as a failed check, and return undefined. */
  attempt<T>(name: string, read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      this.#fail(name, error);
      return undefined;
    }
  }

  /** Like `attempt`, for an asynchronous function. */
  async attemptLater<T>(name: string, read: () => Promise<T>): Promise<T | undefined> {
    try {
      return await read();
    } catch (error) {
      this.#fail(name, error);
      return undefined;
    }
  }

  /** Return the outcome of all checks. */
  verification(): Verification {
    const valid = this.signed && this.checks.every(({ ok }) => ok);
    return new Verification(
      valid,
      this.signed,
      this.attested,
      this.checks,
      this.statement,
      this.opened,
      this.logIndex,
    );
  }

  #fail(name: string, error: unknown): void {
    if (!(error instanceof VerificationError)) throw error;
    this.checks.push({ name, ok: false, message: error.message });
  }
}

/** An artifact to verify: its content, or its SHA-256 in hex (also as `sha256:<hex>`). */
export type CheckedArtifact = Blob | Uint8Array | ArrayBuffer | string;
