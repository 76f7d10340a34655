/** Access to Node's own modules that bundlers do not see, so that a page's bundle contains none of them. */

interface NodeProcess {
  env: Record<string, string | undefined>;
  platform: string;
  versions: { node?: string };
  getBuiltinModule?: (name: string) => unknown;
}

/** Why a browser refuses a file path. */
export const NO_PATHS = "File paths work only in Node; in a browser, pass a File or a Blob.";

/** Return Node's process; undefined in browsers. */
export function nodeProcess(): NodeProcess | undefined {
  const process = (globalThis as { process?: NodeProcess }).process;
  return process?.versions?.node === undefined ? undefined : process;
}

/** Import a Node module. Throws `TypeError` in browsers. */
export async function nodeModule<T>(name: `node:${string}`): Promise<T> {
  if (nodeProcess() === undefined) {
    throw new TypeError(NO_PATHS);
  }
  return (await import(/* @vite-ignore */ /* webpackIgnore: true */ name)) as T;
}

/** Return a Node module synchronously; undefined in browsers and in Node before 20.16. */
export function nodeModuleNow<T>(name: `node:${string}`): T | undefined {
  return nodeProcess()?.getBuiltinModule?.(name) as T | undefined;
}
