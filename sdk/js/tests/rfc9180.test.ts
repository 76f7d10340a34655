/** The HPKE suite of sealed jobs agrees with the published test vectors of RFC 9180. */

import { describe, expect, test } from "vitest";
import { suite } from "../src/sealed/suite.js";
import { fromHex, vectors } from "./vectors.js";

interface Vector {
  mode: number;
  kem_id: number;
  kdf_id: number;
  aead_id: number;
  info: string;
  ikmR: string;
  skRm: string;
  pkRm: string;
  enc: string;
  key: string;
  base_nonce: string;
  encryptions: { sequence: number; aad: string; ct: string; nonce: string; pt: string }[];
  exports: { exporter_context: string; L: number; exported_value: string }[];
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describe("RFC 9180, appendix A.1, base mode", () => {
  const vector = vectors<Vector[]>("rfc9180").find(({ aead_id }) => aead_id === suite.AEAD.id) as Vector;
  const info = fromHex(vector.info);
  const recipient = async () => {
    const privateKey = await suite.DeserializePrivateKey(fromHex(vector.skRm));
    const publicKey = await suite.DeserializePublicKey(fromHex(vector.pkRm));
    return suite.SetupRecipient({ privateKey, publicKey }, fromHex(vector.enc), { info });
  };

  test("the suite's numbers are those of the vector", () => {
    expect([suite.KEM.id, suite.KDF.id, suite.AEAD.id]).toEqual([0x20, 1, vector.aead_id]);
  });

  test("keys derive from their seed", async () => {
    const { publicKey, privateKey } = await suite.DeriveKeyPair(fromHex(vector.ikmR), true);
    expect(hex(await suite.SerializePublicKey(publicKey))).toBe(vector.pkRm);
    expect(hex(await suite.SerializePrivateKey(privateKey))).toBe(vector.skRm);
  });

  test("messages open in their order, and only so", async () => {
    const context = await recipient();
    const inOrder = vector.encryptions.filter(({ sequence }, index) => sequence === index);
    expect(inOrder.length).toBeGreaterThan(3);
    for (const { aad, ct, pt } of inOrder) {
      expect(hex(await context.Open(fromHex(ct), fromHex(aad)))).toBe(pt);
    }
    const [first] = inOrder;
    await expect(context.Open(fromHex(first?.ct ?? ""), fromHex(first?.aad ?? ""))).rejects.toThrow();
  });

  test("later messages have the nonce of their number", async () => {
    const key = await crypto.subtle.importKey("raw", fromHex(vector.key), "AES-GCM", false, ["decrypt"]);
    for (const { sequence, aad, ct, nonce, pt } of vector.encryptions) {
      const iv = fromHex(vector.base_nonce);
      const view = new DataView(iv.buffer);
      view.setUint32(8, view.getUint32(8) ^ sequence);
      expect(hex(iv)).toBe(nonce);
      const parameters = { name: "AES-GCM", iv, additionalData: fromHex(aad) };
      expect(hex(new Uint8Array(await crypto.subtle.decrypt(parameters, key, fromHex(ct))))).toBe(pt);
    }
  });

  test("a changed byte does not open", async () => {
    const [{ aad, ct }] = vector.encryptions as [Vector["encryptions"][0]];
    for (let position = 0; position < ct.length / 2; position++) {
      const changed = fromHex(ct);
      changed[position] = (changed[position] ?? 0) ^ 1;
      await expect((await recipient()).Open(changed, fromHex(aad))).rejects.toThrow();
    }
  });

  test("secrets for other purposes are exported", async () => {
    const context = await recipient();
    for (const { exporter_context, L, exported_value } of vector.exports) {
      expect(hex(await context.Export(fromHex(exporter_context), L))).toBe(exported_value);
    }
  });
});
