/** Where a client remembers the jobs that it sealed, unless its program chooses. */

import { ConfigurationError } from "../errors.js";
import { nodeProcess } from "../http/platform.js";
import { MAX_RECORDS, type SealedRequest, type SealingMemory } from "./memory.js";

const DATABASE = "aitbc-sealed-jobs";
const STORE = "requests";
const AGE = "at";

/** Return this program's memory: in Node the one of the command `aitbc`, in a browser one of the page's origin. */
export async function usualMemory(): Promise<SealingMemory> {
  // A bundler that defines `globalThis.process` as undefined leaves out the code for files.
  if (globalThis.process !== undefined && nodeProcess() !== undefined) {
    return (await import("./memory_file.js")).directoryMemory();
  }
  return globalThis.indexedDB === undefined ? new PassingMemory() : new BrowserMemory();
}

/** For programs without storage: it lasts as long as they do. */
class PassingMemory implements SealingMemory {
  readonly #requests = new Map<string, SealedRequest>();

  async get(id: string): Promise<SealedRequest | undefined> {
    return this.#requests.get(id);
  }

  async add(id: string, request: SealedRequest): Promise<SealedRequest> {
    const stored = this.#requests.get(id) ?? request;
    this.#requests.set(id, stored);
    return stored;
  }
}

/** In IndexedDB, which all pages of an origin share. */
class BrowserMemory implements SealingMemory {
  async get(id: string): Promise<SealedRequest | undefined> {
    return using("readonly", (store) => settled(store.get(id)));
  }

  async add(id: string, request: SealedRequest): Promise<SealedRequest> {
    return using("readwrite", async (store) => {
      const known: SealedRequest | undefined = await settled(store.get(id));
      if (known !== undefined) return known;
      await settled(store.add({ ...request, [AGE]: Date.now() }, id));
      await prune(store);
      return request;
    });
  }
}

async function prune(store: IDBObjectStore): Promise<void> {
  let excess = (await settled(store.count())) - MAX_RECORDS;
  const oldest = store.index(AGE).openCursor();
  for (let cursor = await settled(oldest); cursor !== null && excess > 0; excess -= 1) {
    cursor.delete();
    cursor.continue();
    cursor = await settled(oldest);
  }
}

/** Act in one transaction, which other pages cannot interrupt. */
async function using<T>(mode: IDBTransactionMode, act: (store: IDBObjectStore) => Promise<T>): Promise<T> {
  try {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE).createIndex(AGE, AGE);
    const database = await settled(opening);
    try {
      const transaction = database.transaction(STORE, mode);
      const result = await act(transaction.objectStore(STORE));
      await new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onabort = () => reject(transaction.error);
      });
      return result;
    } finally {
      database.close();
    }
  } catch (error) {
    throw new ConfigurationError(
      "The browser's storage, which has the memory of sealed jobs, cannot be used.",
      {
        cause: error,
      },
    );
  }
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
