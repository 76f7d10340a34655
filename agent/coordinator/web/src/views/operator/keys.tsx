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
import { AddMiner, NewKey } from "./key_forms.tsx";
import { Tokens } from "./tokens.tsx";

/** The newest tokens; `aitbc-agent enroll list` shows all. */
const TOKENS = 50;
/** Accounts and miners whose names are shown; those of further ones are ids. */
const OWNERS = 500;

const ROLES: Record<Role, BadgeProps> = {
  client: { tone: "still", icon: "people", word: "Client" },
  miner: { tone: "still", icon: "machine", word: "Owner" },
  admin: { tone: "still", icon: "key", word: "Administrator" },
};

export default function OperatorKeys() {
  const keys = useLoad(async (signal) => {
    const client = api("admin");
    const [own, list, names] = await Promise.all([
      client.keys.me({ signal }),
      client.admin.keys({ signal }),
      ownerNames(signal),
    ]);
    return { keys: list.keys.toReversed(), own: own.keyId, names };
  });
  const tokens = useLoad((signal) => api("admin").admin.enrolments({ limit: TOKENS, signal }));
  const [secret, setSecret] = useState<Secret | null>(null);
  const [revoked, setRevoked] = useState(false);
  return (
    <Page
      title="Accounts"
      tabs={ACCOUNTS}
      lead="Keys let people and programs in; enrolment tokens let machines join."
      actions={
        <>
          <AddMiner
            kind="normal"
            onMade={(secret) => {
              setSecret(secret);
              tokens.reload();
            }}
          />
          <NewKey
            onMade={(secret) => {
              setSecret(secret);
              keys.reload();
            }}
          />
        </>
      }
    >
      <Tokens tokens={tokens} />
      <Loaded from={keys} lines={5} height="2.75rem">
        {({ keys: all, own, names }) => {
          const shown = all.filter((key) => revoked || key.revokedAt === undefined);
          return (
            <Card title="Keys" note={`${count(shown.length)}, newest first`}>
              <CheckField label="Include revoked keys" checked={revoked} onInput={setRevoked} />
              <KeyTable keys={shown} own={own} names={names} onChange={keys.reload} />
            </Card>
          );
        }}
      </Loaded>
      <SecretDialog secret={secret} onClose={() => setSecret(null)} />
    </Page>
  );
}

/** The names of accounts and miners by their ids. */
async function ownerNames(signal: AbortSignal): Promise<Map<string, string>> {
  const client = api("admin");
  const [{ accounts }, { miners }] = await Promise.all([
    client.admin.accounts({ limit: OWNERS, signal }),
    client.miners.list({ limit: OWNERS, signal }),
  ]);
  return new Map([
    ...accounts.map(({ accountId, name }): [string, string] => [accountId, name]),
    ...miners.map(({ minerId, name }): [string, string] => [minerId, name]),
  ]);
}

interface KeyTableProps {
  keys: Key[];
  own: string;
  names: Map<string, string>;
  onChange: () => void;
}

function KeyTable({ keys, own, names, onChange }: KeyTableProps) {
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
            minerId ? (
              <Copyable text={minerId} shown={names.get(minerId) ?? minerId} noun="id" />
            ) : (
              "the network"
            ),
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
