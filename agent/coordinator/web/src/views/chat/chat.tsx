/** A conversation with a language model, whose answers appear as they are written. Each answer is a job. */
import type { ServiceSupply } from "@aitbc/client";
import { useState } from "preact/hooks";
import { useLocation } from "preact-iso";
import { Button } from "../../components/controls/button.tsx";
import { Dialog } from "../../components/controls/dialog.tsx";
import { Empty } from "../../components/empty.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { useLoad } from "../../load.ts";
import { BASE } from "../../routes.ts";
import { api, useOwnAccount } from "../../session.ts";
import type { Settings } from "./answer.ts";
import { Composer } from "./composer.tsx";
import { lastQuestion, openHistory } from "./history.ts";
import { Conversations } from "./list.tsx";
import { modelOptions } from "./settings.tsx";
import { useTalk } from "./talk.ts";
import { ChatTurn } from "./turn.tsx";

const SERVICE = "llm_inference";

const SUGGESTIONS = [
  "Explain in three sentences how a rainbow forms.",
  "Write a friendly e-mail that moves a meeting to Friday.",
  "Give me five ideas for a dinner with rice and eggs.",
];

export default function Chat() {
  const { query, route } = useLocation();
  const account = useOwnAccount() ?? "";
  const [listed, setListed] = useState(false);
  const models = useLoad(
    async (signal) => {
      openHistory(account);
      const { services } = await api("client").marketplace.services({ signal });
      return { service: services.find(({ serviceId }) => serviceId === SERVICE) };
    },
    [account],
  );
  const leave = () => {
    setListed(false);
    route(`${BASE}/chat`);
  };
  const list = <Conversations current={query.c ?? ""} onLeave={leave} onOpen={() => setListed(false)} />;
  return (
    <Page
      title="Chat"
      lead="Each answer is a job with a receipt."
      actions={
        <>
          <span class="chat-list-button">
            <Button onClick={() => setListed(true)}>Conversations</Button>
          </span>
          {query.c && (
            <Button icon="add" onClick={leave}>
              New conversation
            </Button>
          )}
        </>
      }
    >
      <Loaded from={models}>
        {({ service }) => (
          <div class="chat-columns">
            <Conversation key={account} id={query.c} service={service} />
            <aside aria-label="Conversations" class="chat-aside">
              {list}
            </aside>
          </div>
        )}
      </Loaded>
      <Dialog title="Conversations" open={listed} onClose={() => setListed(false)}>
        {list}
      </Dialog>
    </Page>
  );
}

interface ConversationProps {
  /** Undefined for a new conversation. */
  id: string | undefined;
  service: ServiceSupply | undefined;
}

function Conversation({ id, service }: ConversationProps) {
  const models = modelOptions(service);
  const [settings, setSettings] = useState<Settings>({
    model: models.find((model) => !model.disabled)?.value ?? "",
    system: "",
    maxTokens: 512,
    temperature: 0.7,
  });
  const { turns, busy, ask, stop, retry } = useTalk(id, settings);
  const [text, setText] = useState("");
  const [editing, setEditing] = useState(false);
  const finish = () => {
    setText("");
    setEditing(false);
  };
  const send = () => {
    if (!text.trim() || busy || !settings.model) return;
    finish();
    void ask(text, editing ? lastQuestion(turns).before : turns);
  };
  const edit = () => {
    setText(lastQuestion(turns).question);
    setEditing(true);
  };
  return (
    <div class="stack chat">
      <div role="log" aria-label="Conversation" aria-busy={busy} class="chat-log">
        {turns.length === 0 && <Beginning usable={Boolean(settings.model)} onAsk={ask} />}
        <ol class="stack chat-turns">
          {turns.map((turn, index) => (
            <ChatTurn
              key={index}
              turn={turn}
              writing={busy && index === turns.length - 1}
              onRetry={!busy && index === turns.length - 1 ? retry : undefined}
              onEdit={!busy && !editing && index === turns.length - 2 ? edit : undefined}
            />
          ))}
        </ol>
      </div>
      <Composer
        text={text}
        onInput={setText}
        editing={editing}
        onCancel={finish}
        busy={busy}
        onSend={send}
        onStop={stop}
        service={service}
        models={models}
        settings={settings}
        onSettings={setSettings}
      />
    </div>
  );
}

/** A conversation without messages: what one could ask, or why there is no model. */
function Beginning({ usable, onAsk }: { usable: boolean; onAsk: (question: string) => Promise<void> }) {
  if (!usable) {
    return (
      <Empty icon="chat" title="No language model is available now">
        No machine that is online has one. If you have a machine, download one:{" "}
        <code>aitbc-agent models pull NAME</code>
      </Empty>
    );
  }
  return (
    <div class="stack chat-start">
      <p class="chat-hint">What would you like to know?</p>
      <ul>
        {SUGGESTIONS.map((suggestion) => (
          <li key={suggestion}>
            <button type="button" onClick={() => void onAsk(suggestion)}>
              {suggestion}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
