/** Where a message is written, at the bottom of the chat, with the model that answers it. */
import type { ServiceSupply } from "@aitbc/client";
import { useEffect, useRef, useState } from "preact/hooks";
import { Button } from "../../components/controls/button.tsx";
import { type Option, TextField } from "../../components/controls/field.tsx";
import { Price } from "../../components/figures/money.tsx";
import type { Settings } from "./answer.ts";
import { ModelField, MoreSettings } from "./settings.tsx";

export interface ComposerProps {
  text: string;
  onInput: (text: string) => void;
  /** The message replaces the last one. */
  editing: boolean;
  onCancel: () => void;
  busy: boolean;
  onSend: () => void;
  onStop: () => void;
  service: ServiceSupply | undefined;
  models: Option[];
  settings: Settings;
  onSettings: (settings: Settings) => void;
}

export function Composer({ text, onInput, editing, onCancel, busy, onSend, onStop, ...rest }: ComposerProps) {
  const { service, models, settings, onSettings } = rest;
  const form = useRef<HTMLFormElement>(null);
  const [open, setOpen] = useState(false);
  useEffect(() => {
    if (editing) form.current?.querySelector("textarea")?.focus();
  }, [editing]);
  const price = service?.models.find(({ name }) => name === settings.model)?.price;
  return (
    <form
      class="stack chat-ask"
      ref={form}
      onSubmit={(event) => {
        event.preventDefault();
        onSend();
      }}
    >
      {editing && (
        <div class="row small" data-between="true">
          <span>This replaces your last message and its answer.</span>
          <Button size="small" kind="plain" onClick={onCancel}>
            Cancel
          </Button>
        </div>
      )}
      <TextField
        label="Your message"
        required
        lines={2}
        value={text}
        onInput={onInput}
        placeholder="Write a message"
        onKeyDown={(event) => {
          if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
          event.preventDefault();
          onSend();
        }}
      />
      <div class="chat-controls">
        <ModelField settings={settings} onChange={onSettings} models={models} />
        <Button icon="settings" label="Settings of the answers" onClick={() => setOpen(true)} />
        {busy ? (
          <Button icon="stop" onClick={onStop}>
            Stop
          </Button>
        ) : (
          <Button kind="main" type="submit" disabled={!text.trim() || !settings.model}>
            Send
          </Button>
        )}
      </div>
      <p class="row small quiet chat-note" data-between="true">
        {price && service && (
          <span>
            From <Price unitPrice={price} of={service} />.
          </span>
        )}{" "}
        <span class="chat-keys">Enter sends, Shift+Enter begins a new line.</span>
      </p>
      <MoreSettings settings={settings} onChange={onSettings} open={open} onClose={() => setOpen(false)} />
    </form>
  );
}
