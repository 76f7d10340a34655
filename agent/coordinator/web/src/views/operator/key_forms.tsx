/** The operator's dialogs for new keys and for enrolment tokens. */
import { useState } from "preact/hooks";
import type { ButtonProps } from "../../components/controls/button.tsx";
import { NumberField, SelectField, TextField } from "../../components/controls/field.tsx";
import { FormButton } from "../../components/controls/form-dialog.tsx";
import type { Secret } from "../../components/controls/secret.tsx";
import { spans } from "../../format/time.ts";
import { useLoad } from "../../load.ts";
import { api, type Role } from "../../session.ts";

const MOST = 500;
const NEW_ACCOUNT = "";
const SPANS = spans(1, 24, 168, 720);
const ROLES = [
  { value: "client", label: "Client: submits jobs" },
  { value: "miner", label: "Owner: manages a machine" },
  { value: "admin", label: "Administrator: manages everything" },
];

export interface NewSecretProps {
  onMade: (secret: Secret) => void;
}

export function NewKey({ onMade }: NewSecretProps) {
  const [role, setRole] = useState<Role>("client");
  const owners = useOwners(role);
  const send = async (name: string, owner: string) => {
    const key = await make(role, name, owner || owners[0]?.value || "");
    onMade({ title: "New key", text: key, noun: "key", advice: "Copy it now; it cannot be shown again." });
  };
  return (
    <FormButton
      title="New key"
      action="Create key"
      icon="key"
      initial={{ name: "", owner: "" }}
      ready={({ name }) => name.trim() !== "" && (role !== "miner" || owners.length > 0)}
      onSend={({ name, owner }) => send(name.trim(), owner)}
    >
      {(field) => (
        <>
          <SelectField
            label="Role"
            required
            value={role}
            onInput={(value) => {
              setRole(value as Role);
              field("owner").onInput("");
            }}
            options={ROLES}
          />
          {role !== "admin" && (
            <SelectField
              label={role === "client" ? "Account" : "Machine"}
              required
              {...field("owner")}
              options={owners}
              help={role === "client" ? "A new account's balance is zero until you credit it." : undefined}
            />
          )}
          <TextField
            label="Name"
            required
            {...field("name")}
            maxLength={100}
            help="The program or the person that will use it."
          />
        </>
      )}
    </FormButton>
  );
}

/** The accounts or miners that a key of a role can belong to. */
function useOwners(role: Role): { value: string; label: string }[] {
  const found = useLoad(
    async (signal) => {
      const client = api("admin");
      if (role === "client") {
        const { accounts } = await client.admin.accounts({ limit: MOST, signal });
        return accounts.map(({ accountId, name }) => ({ value: accountId, label: name }));
      }
      if (role === "admin") return [];
      const { miners } = await client.miners.list({ limit: MOST, signal });
      return miners.map(({ minerId, name }) => ({ value: minerId, label: name }));
    },
    [role],
  );
  const options = found.data ?? [];
  return role === "client" ? [{ value: NEW_ACCOUNT, label: "New account" }, ...options] : options;
}

async function make(role: Role, name: string, owner: string): Promise<string> {
  const { admin } = api("admin");
  if (role === "admin") return (await admin.createKey({ role, name })).key;
  if (role === "miner") return (await admin.createKey({ role, name, minerId: owner })).key;
  const accountId = owner || (await admin.createAccount(name)).accountId;
  return (await admin.createKey({ role, name, accountId })).key;
}

const NEW_TOKEN = { uses: 1 as number | undefined, valid_seconds: SPANS[1]?.value ?? "", note: "" };

export function AddMiner({ kind, onMade }: NewSecretProps & Pick<ButtonProps, "kind">) {
  const send = async ({ uses = 1, valid_seconds, note }: typeof NEW_TOKEN) => {
    const enrolment = { uses, validSeconds: Number(valid_seconds), note };
    const { joinCode, joinPicture } = await api("admin").admin.createEnrolment(enrolment);
    onMade({
      title: "Run this on the new machine",
      text: `aitbc-agent join ${joinCode}`,
      noun: "command",
      advice: (
        <>
          Then run <code>aitbc-agent start</code>. Copy it now; it cannot be shown again. Machines that have
          joined stay when the token expires.
          <img class="qr" src={joinPicture} alt="The join code as a QR code" />
        </>
      ),
    });
  };
  return (
    <FormButton
      title="Add a miner"
      action="Create token"
      kind={kind}
      icon="add"
      initial={NEW_TOKEN}
      onSend={send}
    >
      {(field) => (
        <>
          <p>
            You get a command to run on the new machine. It contains a token, with which the machine joins.
          </p>
          <NumberField label="Number of machines" required integer min={1} max={10_000} {...field("uses")} />
          <SelectField label="Valid for" required {...field("valid_seconds")} options={SPANS} />
          <TextField
            label="Note"
            {...field("note")}
            maxLength={200}
            help="Such as whose machine it is. You see it in the list of tokens."
          />
        </>
      )}
    </FormButton>
  );
}
