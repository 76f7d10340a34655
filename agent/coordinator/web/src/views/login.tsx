/** Explains how to sign in: with the link that the agent prints, or with a key. */
import { useState } from "preact/hooks";
import { Card } from "../components/card.tsx";
import { Copyable } from "../components/controls/copyable.tsx";
import { TextField } from "../components/controls/field.tsx";
import { Form } from "../components/controls/form.tsx";
import { Notice } from "../components/notice.tsx";
import { Page } from "../components/page.tsx";
import { codeOf, explain } from "../errors.ts";
import { ended, type Role, signInWithKey } from "../session.ts";
import { useValue } from "../store.ts";

const MISSING: Record<Role, string> = {
  client: "This page requires a client key.",
  miner: "This page requires the key of a miner's owner.",
  admin: "This page requires an administrator key.",
};

export function Login({ missing }: { missing?: Role }) {
  const reason = useValue(ended);
  return (
    <Page title="Sign in" narrow lead="Submit jobs, see their results, and manage machines.">
      {reason && <Notice tone="wait">{reason}</Notice>}
      {missing && <Notice tone="wait">{MISSING[missing]}</Notice>}
      <Card title="On the machine that runs the agent">
        <p>This command prints a link that signs this browser in. It works once, within ten minutes.</p>
        <Copyable text="aitbc-agent login" noun="command" />
      </Card>
      <KeyForm />
    </Page>
  );
}

function KeyForm() {
  const [key, setKey] = useState("");
  const [error, setError] = useState<string>();
  const send = async () => {
    if (!key.trim()) return setError("Enter a key. Keys start with aitbc_.");
    await signInWithKey(key.trim()).catch((error: unknown) => setError(refusal(error)));
  };
  return (
    <Card title="With a key">
      <Form action="Sign in" onSend={send}>
        <TextField
          label="API key"
          secret
          autocomplete="current-password"
          value={key}
          onInput={setKey}
          error={error}
          help="The operator of the network issues keys. This browser stores a session, not the key."
          required
        />
      </Form>
    </Card>
  );
}

function refusal(error: unknown): string {
  return codeOf(error) === "UNAUTHORIZED"
    ? "This key is not valid here. Check that you pasted all of it and that it belongs to this network."
    : explain(error);
}
