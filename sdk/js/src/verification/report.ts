/** What a verification looked at, and what it found. */

import { VerificationError } from "../errors.js";
import type { Statement } from "./statement.js";

/** One thing that a verification looked at. `name` says what, `message` what was found. */
export interface Check {
  name: string;
  ok: boolean;
  message: string;
}

/** The outcome of verifying a receipt. */
export class Verification {
  /**
   * @param valid - Every check holds.
   * @param coordinatorAttestations - How many attestations are signed by the log's key and agree with the statement.
   * @param statement - What the miner signed, when its signature is good and its form right.
   */
  constructor(
    readonly valid: boolean,
    readonly minerSignatureValid: boolean,
    readonly coordinatorAttestations: number,
    readonly checks: readonly Check[],
    readonly statement: Statement | undefined,
  ) {}

  /** One line for every check that does not hold: what was checked, and what is wrong. */
  get failures(): string[] {
    return failuresOf(this.checks);
  }

  /** Throw `VerificationError` with all failures unless the receipt is valid. */
  throwForFailure(): void {
    if (!this.valid) throw new VerificationError(`The receipt is not valid: ${this.failures.join(" ")}`);
  }
}

/** One line for every check that does not hold. */
export function failuresOf(checks: readonly Check[]): string[] {
  return checks.filter(({ ok }) => !ok).map(({ name, message }) => `${name}: ${message}`);
}

/** Collects checks. `statement` stands once the miner's signature is known to be good. */
export class Report {
  readonly checks: Check[] = [];
  signed = false;
  attested = 0;
  statement: Statement | undefined;

  /** Note a check; returns `ok`. */
  expect(name: string, ok: boolean, good: string, bad: string): boolean {
    this.checks.push({ name, ok, message: ok ? good : `${bad}.` });
    return ok;
  }

  /** Run `read`; a `VerificationError` becomes a failed check, and undefined. */
  attempt<T>(name: string, read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      this.#fail(name, error);
      return undefined;
    }
  }

  /** As `attempt`, for what takes its time. */
  async attemptLater<T>(name: string, read: () => Promise<T>): Promise<T | undefined> {
    try {
      return await read();
    } catch (error) {
      this.#fail(name, error);
      return undefined;
    }
  }

  /** The outcome of all checks. */
  verification(): Verification {
    const valid = this.signed && this.checks.every(({ ok }) => ok);
    return new Verification(valid, this.signed, this.attested, this.checks, this.statement);
  }

  #fail(name: string, error: unknown): void {
    if (!(error instanceof VerificationError)) throw error;
    this.checks.push({ name, ok: false, message: error.message });
  }
}
