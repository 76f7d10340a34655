/** A conversation with a language model, whose answers appear as they are written. Each answer is a job. */
import { AITBCError, type Message, type ServiceDetails } from "@aitbc/client";
import { useEffect, useRef, useState } from "preact/hooks";
import { Button } from "../components/controls/button.tsx";
import { NumberField, SelectField, TextField } from "../components/controls/field.tsx";
import { Empty } from "../components/empty.tsx";
import { Loaded } from "../components/loaded.tsx";
import { Page } from "../components/page.tsx";
import { explain } from "../errors.ts";
import { count } from "../format/size.ts";
import { useLoad } from "../load.ts";
import { Answer } from "../results/answer.tsx";
import { BASE } from "../routes.ts";
import { api, publicApi } from "../session.ts";

interface Turn extends Message {
  jobId?: string;
  /** Shown below an answer: its length, or why it is incomplete. */
  note?: string;
}

interface Settings {
  model: string;
  system: string;
  maxTokens: number | undefined;
  temperature: number | undefined;
}

export default function Chat() {
  const service = useLoad((signal) => publicApi().registry.service("llm_inference", { signal }));
  return (
    <Page
      title="Chat"
      lead="Each answer is a separate job with a receipt. The conversation exists only in this window."
    >
      <Loaded from={service}>
        {(service) =>
          service.ready.length > 0 ? (
            <Conversation service={service} />
          ) : (
            <Empty icon="chat" title="No language model is available">
              No online miner has one. The owner of a machine can download one:{" "}
              <code>aitbc-agent models pull NAME</code>
            </Empty>
          )
        }
      </Loaded>
    </Page>
  );
}

function Conversation({ service }: { service: ServiceDetails }) {
  const [settings, setSettings] = useState<Settings>({
    model: service.ready[0] ?? "",
    system: "",
    maxTokens: 512,
    temperature: 0.7,
  });
  const [turns, setTurns] = useState<Turn[]>([]);
  const [text, setText] = useState("");
  const answering = useRef<AbortController | undefined>(undefined);
  const [busy, setBusy] = useState(false);
  useEffect(() => () => answering.current?.abort(), []);

  const ask = async () => {
    const question = text.trim();
    if (!question || busy) return;
    const before: Turn[] = [...turns, { role: "user", content: question }];
    const abort = new AbortController();
    answering.current = abort;
    setText("");
    setBusy(true);
    const show = (answer: Partial<Turn>) =>
      setTurns((turns) => [
        ...before,
        { role: "assistant", content: "", ...turns[before.length], ...answer },
      ]);
    setTurns([...before, { role: "assistant", content: "" }]);
    await answer(settings, before, abort.signal, show);
    setBusy(false);
  };
  return (
    <div class="chat">
      <div role="log" aria-label="Conversation" aria-busy={busy}>
        <ol class="chat-turns">
          {turns.length === 0 && (
            <li class="chat-hint quiet">Ask a question. The answer appears as it is written.</li>
          )}
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
          <SelectField
            label="Model"
            quiet
            value={settings.model}
            onInput={(model) => setSettings({ ...settings, model })}
            options={service.ready.map((model) => ({ value: model, label: model }))}
          />
          <span class="row">
            {turns.length > 0 && !busy && (
              <Button kind="plain" onClick={() => setTurns([])}>
                New conversation
              </Button>
            )}
            {busy ? (
              <Button icon="stop" onClick={() => answering.current?.abort()}>
                Stop
              </Button>
            ) : (
              <Button kind="main" type="submit">
                Send
              </Button>
            )}
          </span>
        </div>
        <More settings={settings} onChange={setSettings} />
      </form>
    </div>
  );
}

/** Ask the model and show its answer as it is written. Aborting also cancels the job. */
async function answer(
  { model, system, maxTokens, temperature }: Settings,
  before: Turn[],
  signal: AbortSignal,
  show: (answer: Partial<Turn>) => void,
): Promise<void> {
  const messages: Message[] = before.map(({ role, content }) => ({ role, content }));
  if (system.trim()) messages.unshift({ role: "system", content: system.trim() });
  const client = api("client");
  let jobId: string | undefined;
  try {
    const stream = await client.services.stream({ messages, model, maxTokens, temperature, signal });
    jobId = stream.job.jobId;
    show({ jobId });
    let content = "";
    for await (const piece of stream) {
      content += piece;
      show({ content });
    }
    const { results } = await client.jobs.getResults(jobId, { signal });
    const { usage, finish_reason: reason } = results as {
      usage: { completion_tokens: number };
      finish_reason: string;
    };
    const cut = reason === "length" ? ", cut off at the maximum number of tokens" : "";
    show({ content: String(results.text), note: `${count(usage.completion_tokens)} tokens${cut}` });
  } catch (error) {
    if (signal.aborted && jobId) {
      await client.jobs.cancel(jobId).catch((late) => {
        // The job may have ended already.
        if (!(late instanceof AITBCError)) throw late;
      });
    }
    show({ note: signal.aborted ? "stopped" : explain(error) });
  }
}

function ChatTurn({ turn, writing }: { turn: Turn; writing: boolean }) {
  return (
    <li class="chat-turn" data-role={turn.role}>
      <p class="chat-who">{turn.role === "user" ? "You" : "Model"}</p>
      {turn.role === "user" ? <p class="chat-text">{turn.content}</p> : <Answer text={turn.content} />}
      {writing && turn.content === "" && <p class="quiet">Waiting for the answer</p>}
      {(turn.note || turn.jobId) && !writing && (
        <p class="quiet small">
          {turn.note} {turn.jobId && <a href={`${BASE}/jobs/${turn.jobId}`}>Job and receipt</a>}
        </p>
      )}
    </li>
  );
}

function More({ settings, onChange }: { settings: Settings; onChange: (settings: Settings) => void }) {
  return (
    <details class="fold">
      <summary>More settings</summary>
      <div class="form-fields">
        <TextField
          label="Instructions for the model"
          lines={2}
          value={settings.system}
          onInput={(system) => onChange({ ...settings, system })}
        />
        <NumberField
          label="Maximum tokens of an answer"
          integer
          min={1}
          max={32768}
          value={settings.maxTokens}
          onInput={(maxTokens) => onChange({ ...settings, maxTokens })}
        />
        <NumberField
          label="Temperature"
          help="0 always picks the most likely word; higher values vary more."
          min={0}
          max={2}
          value={settings.temperature}
          onInput={(temperature) => onChange({ ...settings, temperature })}
        />
      </div>
    </details>
  );
}
