/** The operator's keys and enrolment tokens. */
import type { Key } from "@aitbc/client";
import { useState } from "preact/hooks";
import { Card } from "../../components/card.tsx";
import { Copyable } from "../../components/controls/copyable.tsx";
import { ask } from "../../components/controls/dialog.tsx";
import { CheckField } from "../../components/controls/field.tsx";
import { type Secret, SecretDialog } from "../../components/controls/secret.tsx";
import { Badge, type BadgeProps } from "../../components/figures/status.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { notify } from "../../components/toast.tsx";
import { count } from "../../format/size.ts";
import { useLoad } from "../../load.ts";
import { ACCOUNTS } from "../../routes.ts";
import { api, type Role } from "../../session.ts";
import "../../styles/machine.css";
import { Revoke } from "../keys.tsx";
import { EnrolmentForm, KeyForm } from "./key_forms.tsx";
import { Tokens } from "./tokens.tsx";

/** The newest tokens; `aitbc-agent enroll list` shows all. */
const TOKENS = 50;

const ROLES: Record<Role, BadgeProps> = {
  client: { tone: "still", icon: "people", word: "Client" },
  miner: { tone: "busy", icon: "machine", word: "Owner" },
  admin: { tone: "wait", icon: "key", word: "Administrator" },
};

export default function OperatorKeys() {
  const keys = useLoad(async (signal) => {
    const client = api("admin");
    const [own, list] = await Promise.all([client.keys.me({ signal }), client.admin.keys({ signal })]);
    return { keys: list.keys.toReversed(), own: own.keyId };
  });
  const tokens = useLoad((signal) => api("admin").admin.enrolments({ limit: TOKENS, signal }));
  const [secret, setSecret] = useState<Secret | null>(null);
  const [revoked, setRevoked] = useState(false);
  return (
    <Page
      title="Accounts"
      tabs={ACCOUNTS}
      lead="Keys give programs and people access; enrolment tokens let machines join."
    >
      <div class="grid">
        <Card title="New key">
          <KeyForm
            onMade={(secret) => {
              setSecret(secret);
              keys.reload();
            }}
          />
        </Card>
        <Card title="Add a miner">
          <EnrolmentForm
            onMade={(secret) => {
              setSecret(secret);
              tokens.reload();
            }}
          />
        </Card>
      </div>
      <Tokens tokens={tokens} />
      <Loaded from={keys} lines={5} height="2.75rem">
        {({ keys: all, own }) => {
          const shown = all.filter((key) => revoked || key.revokedAt === undefined);
          return (
            <Card title="Keys" note={`${count(shown.length)}, newest first`}>
              <CheckField label="Include revoked keys" checked={revoked} onInput={setRevoked} />
              <KeyTable keys={shown} own={own} onChange={keys.reload} />
            </Card>
          );
        }}
      </Loaded>
      <SecretDialog secret={secret} onClose={() => setSecret(null)} />
    </Page>
  );
}

function KeyTable({ keys, own, onChange }: { keys: Key[]; own: string; onChange: () => void }) {
  const revoke = async (key: Key) => {
    const text = "Programs and browsers that use it stop working immediately. This cannot be undone.";
    if (!(await ask({ title: `Revoke ${key.name}?`, text, action: "Revoke" }))) return;
    await api("admin").admin.revokeKey(key.keyId);
    onChange();
    notify(`${key.name} was revoked.`);
  };
  return (
    <Table
      caption="Keys"
      rows={keys}
      rowKey={(key) => key.keyId}
      columns={[
        { title: "Name", cell: (key) => key.name },
        { title: "Role", cell: (key) => <Badge {...ROLES[key.role]} />, shrink: true },
        {
          title: "Belongs to",
          cell: ({ accountId, minerId = accountId }) =>
            minerId ? <Copyable text={minerId} noun="id" /> : "the network",
        },
        { title: "Created", cell: (key) => <Ago at={key.createdAt} /> },
        {
          title: "Revoke",
          action: (key) => <Action record={key} own={own} onRevoke={() => revoke(key)} />,
        },
      ]}
    />
  );
}

function Action({ record, own, onRevoke }: { record: Key; own: string; onRevoke: () => Promise<void> }) {
  if (record.revokedAt !== undefined)
    return (
      <span class="quiet">
        revoked <Ago at={record.revokedAt} />
      </span>
    );
  if (record.keyId === own) return <span class="quiet">in use by this browser</span>;
  return <Revoke name={record.name} onClick={onRevoke} />;
}
