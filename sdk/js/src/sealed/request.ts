/** Sealed requests: what a client sends in place of a job's parameters. */

import { bytesToHex } from "@noble/hashes/utils.js";
import { encodeBase64 } from "../verification/canonical.js";
import type { JsonObject } from "../verification/shape.js";
import { type EncryptionKey, newRequestId, type ReplyKey } from "./keys.js";
import { deriveKey, encrypt, padded, sealCapsule, VERSION } from "./suite.js";

const REQUEST_TYPE = "https://aitbc.bubuit.net/sealed-request/v1";

/** What stays in clear of a request, because the coordinator needs it. */
export interface OpenPart {
  /** The service's id, with underscores. */
  service: string;
  /** The model's name in the catalogue. */
  model?: string | null | undefined;
  /** The names of the adapters (LoRA, ControlNet) that the parameters use. */
  adapters?: readonly string[] | undefined;
}

/** A sealed input file: its field's dotted path, the artifact with the ciphertext, and the plaintext's size. */
export interface SealedInput {
  field: string;
  artifactId: string;
  size: number;
  mediaType: string;
  name: string;
}

/** Seals one request to a miner's key: first its files, then its parameters. */
export class RequestSealer {
  private constructor(
    private readonly key: EncryptionKey,
    private readonly fields: { [name: string]: JsonObject[string] },
    private readonly service: string,
    /** The secret that only the client and the miner know. */
    readonly secret: Uint8Array,
  ) {}

  /** Return a sealer for one request. `requestId` (16 bytes) is drawn by default. */
  static async of(
    key: EncryptionKey,
    replyKey: ReplyKey,
    { service, model = null, adapters = [] }: OpenPart,
    requestId: Uint8Array = newRequestId(),
  ): Promise<RequestSealer> {
    const fields = {
      version: VERSION,
      key_id: key.keyId,
      request_id: bytesToHex(requestId),
      reply_key: encodeBase64(replyKey.publicKey),
      model,
      adapters: [...adapters],
    };
    return new RequestSealer(key, fields, service, await replyKey.requestSecret(requestId));
  }

  /** The request's id, in hex. */
  get requestId(): string {
    return String(this.fields.request_id);
  }

  /** Return the key of input file `number`, counted from 0. */
  fileKey(number: number): Promise<CryptoKey> {
    return deriveKey(this.secret, `input:${number}`);
  }

  /** Return the field `sealed` of the job's body. `parameters` are the service's whole input. */
  async seal(parameters: object, files: readonly SealedInput[] = []): Promise<JsonObject> {
    const content = padded({
      parameters,
      files: files.map(({ field, artifactId, size, mediaType, name }) => ({
        ...{ field, artifact_id: artifactId, size, media_type: mediaType, name },
      })),
    });
    const ciphertext = await encrypt(await deriveKey(this.secret, "request"), content);
    return {
      ...this.fields,
      capsule: encodeBase64(await sealCapsule(this.key.publicKey, this.info(), this.secret)),
      ciphertext: encodeBase64(ciphertext),
      files: files.map(({ artifactId }) => `artifact:${artifactId}`),
    };
  }

  /** Return what the capsule is bound to. */
  info(): JsonObject {
    const { version: _, ...bound } = this.fields;
    return { ...bound, type: REQUEST_TYPE, miner_id: this.key.minerId, service: this.service };
  }
}
