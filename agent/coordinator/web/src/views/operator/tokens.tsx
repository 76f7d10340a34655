/** Enrolment tokens: who created them, which machines joined with them, and revoking them. */
import type { Enrolment, EnrolmentList } from "@aitbc/client";
import { Card } from "../../components/card.tsx";
import { ask } from "../../components/controls/dialog.tsx";
import { Badge, type BadgeProps } from "../../components/figures/status.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { notify } from "../../components/toast.tsx";
import type { Loading } from "../../load.ts";
import { BASE } from "../../routes.ts";
import { api } from "../../session.ts";
import { Revoke } from "../keys.tsx";

const STATES: Record<Enrolment["status"], BadgeProps> = {
  valid: { tone: "good", icon: "check", word: "Valid" },
  used: { tone: "still", icon: "dash", word: "Used up" },
  expired: { tone: "still", icon: "wait", word: "Expired" },
  revoked: { tone: "bad", icon: "cross", word: "Revoked" },
};

export function Tokens({ tokens }: { tokens: Loading<EnrolmentList> }) {
  return (
    <Card title="Enrolment tokens" note="newest first">
      <Loaded from={tokens} lines={3} height="2.75rem">
        {({ enrolments }) => <TokenTable tokens={enrolments} onChange={tokens.reload} />}
      </Loaded>
    </Card>
  );
}

function TokenTable({ tokens, onChange }: { tokens: Enrolment[]; onChange: () => void }) {
  const revoke = async (token: Enrolment) => {
    const text = "No machine can join with it from now on. Machines that have joined stay.";
    const title = `Revoke the token${token.note && ` \u201c${token.note}\u201d`}?`;
    if (!(await ask({ title, text, action: "Revoke" }))) return;
    await api("admin").admin.revokeEnrolment(token.enrolmentId);
    onChange();
    notify("The token was revoked.");
  };
  return (
    <Table
      caption="Enrolment tokens"
      empty={<p class="quiet">No token has been created yet.</p>}
      rows={tokens}
      rowKey={(token) => token.enrolmentId}
      columns={[
        { title: "Note", cell: (token) => token.note || <span class="quiet">no note</span> },
        { title: "Status", shrink: true, cell: ({ status }) => <Badge {...STATES[status]} /> },
        { title: "Uses left", cell: (token) => `${token.usesLeft} of ${token.uses}`, align: "end" },
        {
          title: "Created",
          cell: (token) => (
            <>
              <Ago at={token.createdAt} /> by {token.createdByName ?? "the agent"}
            </>
          ),
        },
        { title: "Expires", cell: (token) => <Ago at={token.expiresAt} /> },
        { title: "Machines", cell: machines },
        {
          title: "Revoke",
          action: (token) =>
            token.status === "valid" && (
              <Revoke name={token.note || token.enrolmentId} onClick={() => revoke(token)} />
            ),
        },
      ]}
    />
  );
}

function machines({ miners }: Enrolment) {
  if (miners.length === 0) return <span class="quiet">none</span>;
  return miners.map(({ minerId, name }, index) => (
    <span key={minerId}>
      {index > 0 && ", "}
      <a href={`${BASE}/network/miners/${minerId}`}>{name}</a>
    </span>
  ));
}
