/** Conversations, stored in this browser only, for each account. */
import { Store } from "../../store.ts";

export interface Turn {
  role: "user" | "assistant";
  content: string;
  /** What the model thought before it answered. */
  reasoning?: string;
  /** The model that answered. */
  model?: string;
  jobId?: string;
  /** Shown below an answer: its length, or why it is incomplete. */
  note?: string;
  /** The note is an error. */
  failed?: boolean;
  /** No machine runs the job yet. */
  waits?: boolean;
}

export interface Conversation {
  id: string;
  /** RFC 3339. */
  updatedAt: string;
  turns: Turn[];
}

/** Older conversations are deleted. */
const MOST = 100;

/** The stored conversations of the current account, newest first. */
export const conversations = new Store<Conversation[]>([]);

let key = "";

/** Read an account's conversations. */
export function openHistory(account: string): void {
  key = `aitbc.chat.${account}`;
  conversations.value = read();
}

/** Store a conversation as the newest one, and delete the oldest ones that no longer fit. */
export function remember(id: string, turns: Turn[]): void {
  const others = read().filter((other) => other.id !== id);
  write([{ id, updatedAt: new Date().toISOString(), turns }, ...others]);
}

export function forget(id: string): void {
  write(read().filter((other) => other.id !== id));
}

export function forgetAll(): void {
  write([]);
}

/** Return the title of a conversation: the beginning of its first question. */
export function titleOf({ turns }: Conversation): string {
  return turns[0]?.content.split("\n", 1)[0]?.trim() || "Conversation";
}

/** Return the last question, and the turns before it. */
export function lastQuestion(turns: Turn[]): { question: string; before: Turn[] } {
  const index = turns.findLastIndex(({ role }) => role === "user");
  return { question: turns[index]?.content ?? "", before: turns.slice(0, Math.max(index, 0)) };
}

/** Another window may have changed the stored list meanwhile, so it is read before each change. */
function read(): Conversation[] {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(key) ?? "[]");
    return Array.isArray(stored) ? (stored as Conversation[]) : [];
  } catch {
    return [];
  }
}

function write(list: Conversation[]): void {
  let stored = list.slice(0, MOST);
  while (stored.length > 0 && !put(stored)) stored = stored.slice(0, -1);
  if (stored.length === 0) localStorage.removeItem(key);
  conversations.value = stored;
}

/** Returns false if the browser's storage is full. */
function put(list: Conversation[]): boolean {
  try {
    localStorage.setItem(key, JSON.stringify(list));
    return true;
  } catch {
    return false;
  }
}
