/** Who is using the dashboard: the session of this browser, and the clients that work with it. */
import { AITBCClient, type OwnBrowserSession } from "@aitbc/client";
import { computed, signal } from "@preact/signals";

export type Role = "client" | "miner" | "admin";

const ROLES: Role[] = ["client", "miner", "admin"];

/** The session: `null` where the browser is not signed in, `undefined` until that is known. */
const session = signal<OwnBrowserSession | null | undefined>(undefined);
const clients = new Map<Role, AITBCClient>();
const open = new AITBCClient({ baseUrl: location.origin });

/** Why the last session ended by itself, for the login page. */
export const ended = signal<string | undefined>(undefined);

/** Whether it is known if the browser is signed in. */
export const ready = computed(() => session.value !== undefined);

/** The roles in which this browser may act. */
export const roles = computed(() => {
  const keys = session.value?.keys ?? [];
  return ROLES.filter((role) => keys.some((key) => key.role === role));
});

/** The id of this browser's session. */
export const ownSession = computed(() => session.value?.sessionId);

/** The API in a role. Only pages of roles that the browser has are shown, so there is a session. */
export function api(role: Role): AITBCClient {
  const csrfToken = session.value?.csrfToken;
  if (!csrfToken || !roles.value.includes(role)) {
    throw new Error(`This needs the role ${role}. Sign in with a key of that role.`);
  }
  const known = clients.get(role);
  if (known) return known;
  const client = new AITBCClient({ browser: { role, csrfToken }, baseUrl: location.origin, fetch: watched });
  clients.set(role, client);
  return client;
}

/** The API without a key: the registry, health, the log. */
export function publicApi(): AITBCClient {
  return open;
}

/** Find out whether the browser is signed in. */
export async function resume(): Promise<void> {
  // Earlier versions kept keys here, where every script of the page could read them.
  localStorage.removeItem("aitbc.keys");
  const found = await open.sessions.current().catch(() => undefined);
  // A login link may have been followed meanwhile.
  if (session.value === undefined) session.value = found ?? null;
}

/** Use a one-time link: its keys end with the session. */
export async function signInWithLink(token: string): Promise<void> {
  begin(await signingIn().sessions.begin({ token }));
}

/** Use a key that somebody has; it stays valid when the session ends. */
export async function signInWithKey(key: string): Promise<void> {
  begin(await signingIn().sessions.begin({ key }));
}

/** End the session. One that cannot be ended now, without a connection, is forgotten by the page all the same. */
export async function signOut(): Promise<void> {
  await signingIn()
    .sessions.end()
    .catch(() => undefined);
  forget();
}

/** With the session there is, so that its other roles go on. */
function signingIn(): AITBCClient {
  const role = roles.value[0];
  return role ? api(role) : open;
}

function begin(begun: OwnBrowserSession): void {
  clients.clear();
  ended.value = undefined;
  session.value = begun;
}

function forget(reason?: string): void {
  clients.clear();
  ended.value = reason;
  session.value = null;
}

/** Requests that notice when the session has ended. A wrong key to sign in with does not end it. */
async function watched(input: string, init: RequestInit): Promise<Response> {
  const response = await fetch(input, init);
  if (response.status === 401 && session.value && !new URL(input).pathname.endsWith("/v1/session")) {
    forget("Your session has ended. Sign in again.");
  }
  return response;
}
