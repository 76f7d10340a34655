/** A conversation while it goes on: its turns, and what one can do with them. */
import { useEffect, useRef, useState } from "preact/hooks";
import { useLocation } from "preact-iso";
import { BASE } from "../../routes.ts";
import { answer, type Settings } from "./answer.ts";
import { conversations, lastQuestion, remember, type Turn } from "./history.ts";

/** Within this distance of its end, the page follows the answer. */
const NEAR_PIXELS = 240;

export interface Talk {
  turns: Turn[];
  /** Whether an answer is being written. */
  busy: boolean;
  /** Ask a question after the given turns, by default after all. */
  ask: (question: string, after?: Turn[]) => Promise<void>;
  stop: () => void;
  /** Ask the last question again, instead of its answer. */
  retry: () => Promise<void>;
}

/** Use the conversation with this id; undefined for a new one, which gets an id with its first question. */
export function useTalk(id: string | undefined, settings: Settings): Talk {
  const { route } = useLocation();
  const [turns, setTurns] = useState<Turn[]>([]);
  const [busy, setBusy] = useState(false);
  const answering = useRef<AbortController | undefined>(undefined);
  const shown = useRef(id);

  useEffect(() => {
    // The conversation that is being written is shown already.
    if (id !== undefined && id === shown.current && turns.length > 0) return;
    answering.current?.abort();
    shown.current = id;
    setTurns(conversations.value.find((conversation) => conversation.id === id)?.turns ?? []);
  }, [id]);
  useEffect(() => () => answering.current?.abort(), []);
  useEffect(() => {
    const page = document.documentElement;
    // A reader who has scrolled up stays there.
    if (busy && page.scrollHeight - page.clientHeight - page.scrollTop < NEAR_PIXELS) scrollToEnd();
  }, [turns]);

  const ask = async (question: string, after = turns) => {
    if (!question.trim() || busy || !settings.model) return;
    const own = id ?? crypto.getRandomValues(new Uint32Array(2)).join("");
    const before: Turn[] = [...after, { role: "user", content: question.trim() }];
    let last: Turn = { role: "assistant", content: "", model: settings.model };
    const abort = new AbortController();
    answering.current = abort;
    shown.current = own;
    const show = (change: Partial<Turn>) => {
      last = { ...last, ...change };
      if (shown.current === own) setTurns([...before, last]);
      // Not for each word, which would write the whole history each time.
      if (change.jobId ?? change.note) remember(own, [...before, last]);
    };
    setBusy(true);
    show({});
    remember(own, [...before, last]);
    if (id === undefined) route(`${BASE}/chat?c=${own}`, true);
    requestAnimationFrame(scrollToEnd);
    await answer(settings, before, abort.signal, show);
    setBusy(false);
  };
  return {
    turns,
    busy,
    ask,
    stop: () => answering.current?.abort(),
    retry: async () => {
      const { question, before } = lastQuestion(turns);
      await ask(question, before);
    },
  };
}

function scrollToEnd(): void {
  document.documentElement.scrollTop = document.documentElement.scrollHeight;
}
