/** The operator's dialogs for new keys and for enrolment tokens. */
import { useEffect, useState } from "preact/hooks";
import { NumberField, SelectField, TextField } from "../../components/controls/field.tsx";
import { FormDialog } from "../../components/controls/form-dialog.tsx";
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
  open: boolean;
  onClose: () => void;
  onMade: (secret: Secret) => void;
}

export function NewKey({ open, onClose, onMade }: NewSecretProps) {
  const [role, setRole] = useState<Role>("client");
  const [name, setName] = useState("");
  const [owner, setOwner] = useState("");
  useEffect(() => setName(""), [open]);
  const owners = useOwners(role);
  const send = async () => {
    const key = await make(role, name.trim(), owner || owners[0]?.value || "");
    onMade({ title: "New key", text: key, noun: "key", advice: "Copy it now; it cannot be shown again." });
  };
  return (
    <FormDialog
      title="New key"
      action="Create key"
      icon="key"
      open={open}
      onClose={onClose}
      disabled={!name.trim() || (role === "miner" && owners.length === 0)}
      onSend={send}
    >
      <SelectField
        label="Role"
        required
        value={role}
        onInput={(value) => {
          setRole(value as Role);
          setOwner("");
        }}
        options={ROLES}
      />
      {role !== "admin" && (
        <SelectField
          label={role === "client" ? "Account" : "Machine"}
          required
          value={owner}
          onInput={setOwner}
          options={owners}
          help={role === "client" ? "A new account's balance is zero until you credit it." : undefined}
        />
      )}
      <TextField
        label="Name"
        required
        value={name}
        onInput={setName}
        maxLength={100}
        help="The program or the person that will use it."
      />
    </FormDialog>
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

export function AddMiner({ open, onClose, onMade }: NewSecretProps) {
  const [uses, setUses] = useState<number | undefined>(1);
  const [span, setSpan] = useState(SPANS[1]?.value ?? "");
  const [note, setNote] = useState("");
  const send = async () => {
    const body = { uses: uses ?? 1, validSeconds: Number(span), note };
    const { joinCode, joinPicture } = await api("admin").admin.createEnrolment(body);
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
    <FormDialog
      title="Add a miner"
      action="Create token"
      icon="add"
      open={open}
      onClose={onClose}
      onSend={send}
    >
      <p>You get a command to run on the new machine. It contains a token, with which the machine joins.</p>
      <NumberField
        label="Number of machines"
        required
        integer
        min={1}
        max={10_000}
        value={uses}
        onInput={setUses}
      />
      <SelectField label="Valid for" required value={span} onInput={setSpan} options={SPANS} />
      <TextField
        label="Note"
        value={note}
        onInput={setNote}
        maxLength={200}
        help="Such as whose machine it is. You see it in the list of tokens."
      />
    </FormDialog>
  );
}
