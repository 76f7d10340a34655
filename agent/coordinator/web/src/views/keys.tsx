/** The keys of the own account, and the browsers that are signed in to it. */
import type { BrowserSession, Key } from "@aitbc/client";
import { useState } from "preact/hooks";
import { Card } from "../components/card.tsx";
import { Button } from "../components/controls/button.tsx";
import { ask } from "../components/controls/dialog.tsx";
import { TextField } from "../components/controls/field.tsx";
import { FormButton } from "../components/controls/form-dialog.tsx";
import { type Secret, SecretDialog } from "../components/controls/secret.tsx";
import { Badge } from "../components/figures/status.tsx";
import { Table } from "../components/figures/table.tsx";
import { Ago, Clock } from "../components/figures/time.tsx";
import { Loaded } from "../components/loaded.tsx";
import { Page } from "../components/page.tsx";
import { notify } from "../components/toast.tsx";
import { useLoad } from "../load.ts";
import { api, ownSession } from "../session.ts";
import "../styles/machine.css";

export default function Keys() {
  const keys = useLoad(async (signal) => {
    const client = api("client");
    const [own, list] = await Promise.all([client.keys.me({ signal }), client.keys.list({ signal })]);
    return { ...list, own: own.keyId };
  });
  const [secret, setSecret] = useState<Secret | null>(null);
  const create = async (name: string) => {
    const { key } = await api("client").keys.create(name);
    const advice = "Copy it now; it cannot be shown again. Anyone who has it can spend your money.";
    setSecret({ title: "New key", text: key, noun: "key", advice });
    keys.reload();
  };
  const revoke = async (key: Key) => {
    const text = "Programs and browsers that use it stop working immediately. This cannot be undone.";
    if (!(await ask({ title: `Revoke ${key.name}?`, text, action: "Revoke" }))) return;
    await api("client").keys.revoke(key.keyId);
    keys.reload();
    notify(`${key.name} was revoked.`);
  };
  return (
    <Page
      title="API keys"
      lead="A key for each program that submits jobs, so that you can revoke one without stopping the others."
      actions={
        <FormButton
          title="New key"
          action="Create key"
          icon="key"
          initial={{ name: "" }}
          ready={({ name }) => name.trim() !== ""}
          onSend={({ name }) => create(name.trim())}
        >
          {(field) => (
            <TextField
              label="Name"
              required
              {...field("name")}
              maxLength={100}
              placeholder="Laptop"
              help="The program or machine that will use it."
            />
          )}
        </FormButton>
      }
    >
      <Loaded from={keys}>
        {({ keys: list, own, limit }) => (
          <Card title="Keys" note={`${list.length} of at most ${limit}`}>
            <Table
              caption="Keys"
              rows={list}
              rowKey={(key) => key.keyId}
              columns={[
                { title: "Name", cell: (key) => key.name },
                { title: "Created", cell: (key) => <Ago at={key.createdAt} /> },
                {
                  title: "Revoke",
                  action: (key) =>
                    key.keyId === own ? <InUse /> : <Revoke name={key.name} onClick={() => revoke(key)} />,
                },
              ]}
            />
          </Card>
        )}
      </Loaded>
      <Browsers />
      <SecretDialog secret={secret} onClose={() => setSecret(null)} />
    </Page>
  );
}

/** The browsers that are signed in to the account. */
function Browsers() {
  const sessions = useLoad((signal) => api("client").sessions.list({ signal }));
  const end = async (session: BrowserSession) => {
    await api("client").sessions.revoke(session.sessionId);
    sessions.reload();
    notify("The browser was signed out.");
  };
  return (
    <Loaded from={sessions}>
      {(list) => (
        <Card title="Signed-in browsers">
          <Table
            caption="Browsers"
            rows={list}
            rowKey={(session) => session.sessionId}
            columns={[
              { title: "Signed in", cell: (session) => <Ago at={session.createdAt} /> },
              { title: "Until", cell: (session) => <Clock at={session.expiresAt} /> },
              {
                title: "Sign out",
                action: (session) =>
                  session.sessionId === ownSession() ? (
                    <Badge tone="good" icon="check" word="This browser" />
                  ) : (
                    <Button size="small" kind="plain" onClick={() => end(session)}>
                      Sign out this browser
                    </Button>
                  ),
              },
            ]}
          />
        </Card>
      )}
    </Loaded>
  );
}

function InUse() {
  return <Badge tone="good" icon="check" word="In use by this browser" />;
}

export function Revoke({ name, onClick }: { name: string; onClick: () => Promise<void> }) {
  return (
    <Button size="small" kind="plain" onClick={onClick} label={`Revoke ${name}`}>
      Revoke
    </Button>
  );
}
