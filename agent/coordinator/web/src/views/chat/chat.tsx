/** A conversation with a language model, whose answers appear as they are written. Each answer is a job. */
import { useEffect, useRef, useState } from "preact/hooks";
import { useLocation } from "preact-iso";
import { Button } from "../../components/controls/button.tsx";
import { type Option, TextField } from "../../components/controls/field.tsx";
import { Empty } from "../../components/empty.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { useLoad } from "../../load.ts";
import { BASE } from "../../routes.ts";
import { api, useOwnAccount } from "../../session.ts";
import { answer, type Settings } from "./answer.ts";
import { conversations, openHistory, remember, type Turn } from "./history.ts";
import { Conversations } from "./list.tsx";
import { ModelField, MoreSettings, modelOptions } from "./settings.tsx";
import { ChatTurn } from "./turn.tsx";

/** Within this distance of its end, the page follows the answer. */
const NEAR_PIXELS = 240;
const SERVICE = "llm_inference";

export default function Chat() {
  const { query, route } = useLocation();
  const account = useOwnAccount() ?? "";
  const models = useLoad(
    async (signal) => {
      openHistory(account);
      const { services } = await api("client").marketplace.services({ signal });
      return { service: services.find(({ serviceId }) => serviceId === SERVICE) };
    },
    [account],
  );
  const leave = () => route(`${BASE}/chat`);
  return (
    <Page
      title="Chat"
      lead="Each answer is a separate job with a receipt."
      actions={
        query.c && (
          <Button icon="add" onClick={leave}>
            New conversation
          </Button>
        )
      }
    >
      <Loaded from={models}>
        {({ service }) => (
          <div class="chat-columns">
            <Conversation key={account} id={query.c} models={modelOptions(service)} />
            <Conversations current={query.c ?? ""} onLeave={leave} />
          </div>
        )}
      </Loaded>
    </Page>
  );
}

interface ConversationProps {
  /** Undefined for a new conversation. */
  id: string | undefined;
  models: Option[];
}

function Conversation({ id, models }: ConversationProps) {
  const { route } = useLocation();
  const [settings, setSettings] = useState<Settings>({
    model: models.find((model) => !model.disabled)?.value ?? "",
    system: "",
    maxTokens: 512,
    temperature: 0.7,
  });
  const [turns, setTurns] = useState<Turn[]>([]);
  const [text, setText] = useState("");
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
    const below = page.scrollHeight - page.clientHeight - page.scrollTop;
    if (busy && below < NEAR_PIXELS) page.scrollTop = page.scrollHeight;
  }, [turns]);

  const ask = async () => {
    const question = text.trim();
    if (!question || busy || !settings.model) return;
    const own = id ?? crypto.getRandomValues(new Uint32Array(2)).join("");
    const before: Turn[] = [...turns, { role: "user", content: question }];
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
    setText("");
    setBusy(true);
    show({});
    remember(own, [...before, last]);
    if (id === undefined) route(`${BASE}/chat?c=${own}`, true);
    await answer(settings, before, abort.signal, show);
    setBusy(false);
  };
  return (
    <div class="chat">
      <div role="log" aria-label="Conversation" aria-busy={busy}>
        <ol class="chat-turns">
          {turns.length === 0 && <Hint unavailable={!settings.model} />}
          {turns.map((turn, index) => (
            <ChatTurn key={index} turn={turn} writing={busy && index === turns.length - 1} />
          ))}
        </ol>
      </div>
      <form
        class="chat-ask"
        onSubmit={(event) => {
          event.preventDefault();
          void ask();
        }}
      >
        <TextField
          label="Your message"
          required
          lines={3}
          value={text}
          onInput={setText}
          help="Press Enter to send, Shift+Enter for a new line."
          onKeyDown={(event) => {
            if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
            event.preventDefault();
            void ask();
          }}
        />
        <div class="row" data-between="true">
          <ModelField settings={settings} onChange={setSettings} models={models} />
          {busy ? (
            <Button icon="stop" onClick={() => answering.current?.abort()}>
              Stop
            </Button>
          ) : (
            <Button kind="main" type="submit" disabled={!text.trim() || !settings.model}>
              Send
            </Button>
          )}
        </div>
        <MoreSettings settings={settings} onChange={setSettings} />
      </form>
    </div>
  );
}

function Hint({ unavailable }: { unavailable: boolean }) {
  if (!unavailable) {
    return <li class="chat-hint quiet">Ask a question. The answer appears as it is written.</li>;
  }
  return (
    <li>
      <Empty icon="chat" title="No language model is available now">
        No online miner has one. The owner of a machine can download one:{" "}
        <code>aitbc-agent models pull NAME</code>
      </Empty>
    </li>
  );
}
