/** The operator's forms for new keys and for enrolment tokens. */
import { useState } from "preact/hooks";
import { Button } from "../../components/controls/button.tsx";
import { NumberField, SelectField, TextField } from "../../components/controls/field.tsx";
import type { Secret } from "../../components/controls/secret.tsx";
import { Failure } from "../../components/notice.tsx";
import { useLoad } from "../../load.ts";
import { api, type Role } from "../../session.ts";

const MOST = 500;
const NEW_ACCOUNT = "";
const HOUR = 3600;
const SPANS = [
  { value: String(HOUR), label: "1 hour" },
  { value: String(24 * HOUR), label: "1 day" },
  { value: String(7 * 24 * HOUR), label: "1 week" },
  { value: String(30 * 24 * HOUR), label: "30 days" },
];
const ROLES = [
  { value: "client", label: "Client: submits jobs" },
  { value: "miner", label: "Owner: manages a machine" },
  { value: "admin", label: "Administrator: manages everything" },
];

export function KeyForm({ onMade }: { onMade: (secret: Secret) => void }) {
  const [role, setRole] = useState<Role>("client");
  const [name, setName] = useState("");
  const [owner, setOwner] = useState("");
  const [wrong, setWrong] = useState<string>();
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const owners = useOwners(role);
  const submit = async (event: Event) => {
    event.preventDefault();
    setWrong(name.trim() ? undefined : "Enter a name, such as the program or person that will use the key.");
    if (!name.trim()) return;
    setBusy(true);
    setError(undefined);
    await make(role, name.trim(), owner || owners[0]?.value || "").then((key) => {
      setName("");
      onMade({
        title: "New key",
        text: key,
        noun: "key",
        advice: "Copy it now; it cannot be shown again.",
      });
    }, setError);
    setBusy(false);
  };
  return (
    <form class="stack" onSubmit={submit} noValidate>
      {error !== undefined && <Failure error={error} />}
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
      <TextField label="Name" required value={name} onInput={setName} maxLength={100} error={wrong} />
      <div class="row">
        <Button
          type="submit"
          kind="main"
          icon="key"
          busy={busy}
          disabled={role === "miner" && owners.length === 0}
        >
          Create key
        </Button>
      </div>
    </form>
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

export function EnrolmentForm({ onMade }: { onMade: (secret: Secret) => void }) {
  const [uses, setUses] = useState<number | undefined>(1);
  const [span, setSpan] = useState(SPANS[1]?.value ?? "");
  const [note, setNote] = useState("");
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    await api("admin")
      .admin.createEnrolment({ uses: uses ?? 1, validSeconds: Number(span), note })
      .then(({ enrolmentToken }) => {
        onMade({
          title: "Run this on the new machine",
          text: `aitbc-agent start --coordinator ${location.origin} --enroll ${enrolmentToken}`,
          noun: "command",
          advice:
            "Copy it now; it cannot be shown again. Machines that have joined stay when the token expires.",
        });
      }, setError);
    setBusy(false);
  };
  return (
    <form class="stack" onSubmit={submit} noValidate>
      {error !== undefined && <Failure error={error} />}
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
      <TextField label="Note" value={note} onInput={setNote} maxLength={200} help="For the list of tokens." />
      <div class="row">
        <Button type="submit" kind="main" icon="add" busy={busy}>
          Create token
        </Button>
      </div>
    </form>
  );
}
