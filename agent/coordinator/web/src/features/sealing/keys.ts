/**
 * This browser's key for sealed jobs, in IndexedDB. Pages can use the private key but not read it, and it never leaves the
 * browser, so that only this browser opens the answers.
 */
import { ReplyKey } from "@aitbc/client";

const DATABASE = "aitbc-sealing";
const STORE = "keys";
const NAME = "reply";

/** Return the key, which is created at the first call. */
export async function replyKey(): Promise<ReplyKey> {
  const known = await storedKey();
  if (known) return known;
  const made = await ReplyKey.generate();
  // Another tab may have created one meanwhile; the first one counts.
  await using("readwrite", (store) => store.add(made.pair, NAME)).catch(() => undefined);
  return (await storedKey()) ?? made;
}

/** Return whether a job's key (base64) is this browser's. */
export async function isOwn(publicKey: string): Promise<boolean> {
  const key = await storedKey();
  return key !== undefined && btoa(String.fromCharCode(...key.publicKey)) === publicKey;
}

/** Return the key if there is one. */
export async function storedKey(): Promise<ReplyKey | undefined> {
  const pair: CryptoKeyPair | undefined = await using("readonly", (store) => store.get(NAME));
  return pair && ReplyKey.of(pair);
}

async function using<T>(mode: IDBTransactionMode, act: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const opening = indexedDB.open(DATABASE, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  const database = await settled(opening);
  try {
    return await settled(act(database.transaction(STORE, mode).objectStore(STORE)));
  } finally {
    database.close();
  }
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
