/** What Node has and browsers lack, reached without naming it to bundlers: a page's bundle holds nothing of it. */

interface NodeProcess {
  env: Record<string, string | undefined>;
  platform: string;
  versions: { node?: string };
  getBuiltinModule?: (name: string) => unknown;
}

/** Node's process; undefined in browsers. */
export function nodeProcess(): NodeProcess | undefined {
  const process = (globalThis as { process?: NodeProcess }).process;
  return process?.versions?.node === undefined ? undefined : process;
}

/** A module of Node's, imported when it is needed. It throws `TypeError` in browsers. */
export async function nodeModule<T>(name: `node:${string}`): Promise<T> {
  if (nodeProcess() === undefined) {
    throw new TypeError("Paths of files are for Node; in a browser, pass a File or a Blob.");
  }
  return (await import(/* @vite-ignore */ /* webpackIgnore: true */ name)) as T;
}

/** A module of Node's at once; undefined in browsers and in a Node older than 20.16. */
export function nodeModuleNow<T>(name: `node:${string}`): T | undefined {
  return nodeProcess()?.getBuiltinModule?.(name) as T | undefined;
}
