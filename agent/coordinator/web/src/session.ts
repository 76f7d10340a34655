/** Who is using the dashboard: the keys of this browser, and the clients that work with them. */
import { AITBCClient } from "@aitbc/client";
import { computed, signal } from "@preact/signals";

export type Role = "client" | "miner" | "admin";

interface HeldKey {
  role: Role;
  key: string;
  keyId: string;
  /** Whether it was made for this dashboard (by a login link), and so ends with its session. */
  own: boolean;
}

const STORED = "aitbc.keys";
const ROLES: Role[] = ["client", "miner", "admin"];

const held = signal<HeldKey[]>(read());
const clients = new Map<string, AITBCClient>();

/** Why the last session ended by itself, for the login page. */
export const ended = signal<string | undefined>(undefined);

/** The roles that this browser has a key for. */
export const roles = computed(() => ROLES.filter((role) => held.value.some((key) => key.role === role)));

/** The API with the key of a role. Only pages of that role are shown, so there is one. */
export function api(role: Role): AITBCClient {
  const key = held.value.find((key) => key.role === role);
  if (!key) throw new Error(`This needs a key of the role ${role}. Sign in with one.`);
  return clientFor(key.key);
}

/** The API without a key: the registry, health, the log. */
export function publicApi(): AITBCClient {
  return clientFor("");
}

/** Use a one-time link: its keys are this dashboard's own. */
export async function signInWithLink(token: string): Promise<void> {
  const { keys } = await publicApi().login(token);
  keep(keys.map((key) => ({ role: key.role, key: key.key, keyId: key.keyId, own: true })));
}

/** Use a key that somebody has; it is forgotten at the end, not revoked. */
export async function signInWithKey(key: string): Promise<void> {
  const { role, keyId } = await clientFor(key).keys.me();
  keep([{ role, key, keyId, own: false }]);
}

/** Forget all keys; those of this dashboard are revoked. One that cannot be revoked now is forgotten all the same. */
export async function signOut(): Promise<void> {
  const own = held.value.filter((key) => key.own);
  await Promise.allSettled(own.map((key) => clientFor(key.key).keys.revokeSelf()));
  forget();
}

function keep(keys: HeldKey[]): void {
  const newRoles = new Set(keys.map((key) => key.role));
  held.value = [...held.value.filter((key) => !newRoles.has(key.role)), ...keys];
  ended.value = undefined;
  write();
}

function forget(reason?: string): void {
  held.value = [];
  clients.clear();
  ended.value = reason;
  write();
}

function clientFor(key: string): AITBCClient {
  const known = clients.get(key);
  if (known) return known;
  const client = new AITBCClient({ apiKey: key || undefined, baseUrl: location.origin, fetch: watched(key) });
  clients.set(key, client);
  return client;
}

/** Requests that notice when a key is not accepted any more. */
function watched(key: string): typeof fetch {
  return async (input, init) => {
    const response = await fetch(input, init);
    if (response.status === 401 && held.value.some((known) => known.key === key)) {
      forget("Your key is not accepted any more. Sign in again.");
    }
    return response;
  };
}

function read(): HeldKey[] {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(STORED) ?? "[]");
    return Array.isArray(value) ? (value as HeldKey[]) : [];
  } catch {
    return [];
  }
}

function write(): void {
  localStorage.setItem(STORED, JSON.stringify(held.value));
}
