/** The one HPKE suite of sealed jobs: X25519, HKDF-SHA256 and AES-128-GCM, which browsers and Node implement natively. */

import { AEAD_AES_128_GCM, CipherSuite, KDF_HKDF_SHA256, KEM_DHKEM_X25519_HKDF_SHA256 } from "hpke";

/** DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM (RFC 9180), in base mode. */
export const suite: CipherSuite<CryptoKey> = new CipherSuite(
  KEM_DHKEM_X25519_HKDF_SHA256,
  KDF_HKDF_SHA256,
  AEAD_AES_128_GCM,
);
