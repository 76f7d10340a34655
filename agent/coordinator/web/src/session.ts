/** The session of this browser, and the API clients that use it. */
import { AITBCClient, type OwnBrowserSession } from "@aitbc/client";
import { Store, useStore } from "./store.ts";

export type Role = "client" | "miner" | "admin";

const ROLES: Role[] = ["client", "miner", "admin"];

/** The session: `null` if the browser is not signed in, `undefined` until that is known. */
const session = new Store<OwnBrowserSession | null | undefined>(undefined);
let roles: Role[] = [];
const clients = new Map<Role, AITBCClient>();
const open = new AITBCClient({ baseUrl: location.origin });

/** Why the last session ended without a sign-out, for the login page. */
export const ended = new Store<string | undefined>(undefined);

/** Whether the sign-in state is known. */
export function useReady(): boolean {
  return useStore(session, (session) => session !== undefined);
}

/** The roles in which this browser may act. */
export function useRoles(): Role[] {
  return useStore(session, () => roles);
}

/** The id of the account for which this browser submits jobs. */
export function useOwnAccount(): string | undefined {
  return useStore(session, (session) => session?.keys.find((key) => key.role === "client")?.accountId);
}

/** Return the id of this browser's session. */
export function ownSession(): string | undefined {
  return session.value?.sessionId;
}

/** Return the API client of a role. Throws if the session lacks the role, which the routing prevents. */
export function api(role: Role): AITBCClient {
  const csrfToken = session.value?.csrfToken;
  if (!csrfToken || !roles.includes(role)) {
    throw new Error(`This needs the role ${role}. Sign in with a key of that role.`);
  }
  const known = clients.get(role);
  if (known) return known;
  const client = new AITBCClient({
    browser: { role, csrfToken },
    baseUrl: location.origin,
    fetch: watched,
    // Loaded on demand, because few jobs are sealed.
    replyKey: async () => (await import("./features/sealing/keys.ts")).replyKey(),
  });
  clients.set(role, client);
  return client;
}

/** Return the API client without a key, for the registry, health and the log. */
export function publicApi(): AITBCClient {
  return open;
}

/** Find out whether the browser is signed in. */
export async function resume(): Promise<void> {
  // Earlier versions stored keys here, where every script of the page could read them.
  localStorage.removeItem("aitbc.keys");
  const found = await open.sessions.current().catch(() => undefined);
  // A login link may have been followed meanwhile.
  if (session.value === undefined) become(found ?? null);
}

/** Sign in with a one-time link. Its keys are revoked when the session ends. */
export async function signInWithLink(token: string): Promise<void> {
  begin(await signingIn().sessions.begin({ token }));
}

/** Sign in with an existing key. It stays valid when the session ends. */
export async function signInWithKey(key: string): Promise<void> {
  begin(await signingIn().sessions.begin({ key }));
}

/** End the session. The page discards it even if the request fails. */
export async function signOut(): Promise<void> {
  await signingIn()
    .sessions.end()
    .catch(() => undefined);
  forget();
}

/** Return a client that uses the existing session, so that the new session keeps its other roles. */
function signingIn(): AITBCClient {
  const role = roles[0];
  return role ? api(role) : open;
}

function begin(begun: OwnBrowserSession): void {
  ended.value = undefined;
  become(begun);
}

function forget(reason?: string): void {
  ended.value = reason;
  become(null);
}

function become(next: OwnBrowserSession | null): void {
  clients.clear();
  roles = ROLES.filter((role) => next?.keys.some((key) => key.role === role));
  session.value = next;
}

/** `fetch` that notices when the session has ended. A failed sign-in does not end it. */
async function watched(input: string, init: RequestInit): Promise<Response> {
  const response = await fetch(input, init);
  if (response.status === 401 && session.value && !new URL(input).pathname.endsWith("/v1/session")) {
    forget("Your session has ended. Sign in again.");
  }
  return response;
}
