/** Signing in: by the link that the agent prints, which needs no page, or with a key. */
import { useState } from "preact/hooks";
import { Card } from "../components/card.tsx";
import { Button } from "../components/controls/button.tsx";
import { Copyable } from "../components/controls/copyable.tsx";
import { TextField } from "../components/controls/field.tsx";
import { Notice } from "../components/notice.tsx";
import { Page } from "../components/page.tsx";
import { codeOf, explain } from "../errors.ts";
import { ended, type Role, signInWithKey } from "../session.ts";

const MISSING: Record<Role, string> = {
  client: "This page needs a client's key.",
  miner: "This page needs the key of a miner's owner.",
  admin: "This page needs an administrator's key.",
};

export function Login({ missing }: { missing?: Role }) {
  return (
    <Page title="Sign in" narrow lead="To submit jobs, see their results, and look after machines.">
      {ended.value && <Notice tone="wait">{ended.value}</Notice>}
      {missing && <Notice tone="wait">{MISSING[missing]}</Notice>}
      <Card title="On the machine that runs the agent">
        <p>This command prints a link. It signs this browser in, once and within ten minutes.</p>
        <Copyable text="aitbc-agent login" what="command" />
      </Card>
      <KeyForm />
    </Page>
  );
}

function KeyForm() {
  const [key, setKey] = useState("");
  const [error, setError] = useState<string>();
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (!key.trim()) return setError("Paste a key. It begins with aitbc_.");
    setBusy(true);
    await signInWithKey(key.trim()).catch((error: unknown) => setError(refusal(error)));
    setBusy(false);
  };
  return (
    <Card title="With a key">
      <form class="stack" onSubmit={submit} noValidate>
        <TextField
          label="API key"
          secret
          autocomplete="current-password"
          value={key}
          onInput={setKey}
          error={error}
          help="The operator of the network gives you one. This browser keeps a session and not the key."
          required
        />
        <div class="row">
          <Button type="submit" kind="main" busy={busy}>
            Sign in
          </Button>
        </div>
      </form>
    </Card>
  );
}

function refusal(error: unknown): string {
  return codeOf(error) === "UNAUTHORIZED"
    ? "This key is not known here. Check that all of it was pasted, and that it is for this network."
    : explain(error);
}
