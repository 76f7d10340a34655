/** `client.log`: the coordinator's append-only log. Needs no key. */

import { type CallOptions, fetchBytes, fetchText, part, type Session } from "../http/transport.js";
import { Calls } from "./calls.js";

/** The coordinator may hold the response until the next checkpoint. */
const PROOF_PATIENCE_MS = 10_000;

/** The coordinator's log: its checkpoint, proofs and tiles. `verifyLog` verifies them. */
export class Log extends Calls {
  /** Return the latest signed checkpoint; with `cosigned`, the latest with that many cosignatures. */
  checkpoint(options: { cosigned?: number | undefined } & CallOptions = {}): Promise<string> {
    const { cosigned, signal } = options;
    const query = { cosigned: cosigned || undefined };
    return fetchText(this.session, { path: "/v1/log/checkpoint", query, signal });
  }

  /** Return the `tlog-proof@v1` of a receipt (by its id) or a settlement (by its transaction's id). */
  proof(reference: string, options: CallOptions = {}): Promise<string> {
    return getProof(this.session, reference, options);
  }

  /** Return the bytes of a tile of hashes or a bundle of entries, by its path (`tile/0/x001/234.p/5`). */
  tile(path: string, options: CallOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    return fetchBytes(this.session, { path: `/v1/log/${path}`, ...options });
  }
}

/** Return the proof of a receipt or settlement. */
export function getProof(session: Session, reference: string, { signal }: CallOptions): Promise<string> {
  const path = `/v1/log/proof/${part(reference)}`;
  return fetchText(session, { path, patienceMs: PROOF_PATIENCE_MS, signal });
}
