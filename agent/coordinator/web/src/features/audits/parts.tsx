/**
 * Audits: verdicts, what was compared, and what audits have shown of a miner.
 *
 *   <Verdict audit={audit} />
 *   <Comparison audit={audit} />
 *   <Proofs proofs={page.proofs} />
 */
import type { Audit, AuditStanding } from "@aitbc/client";
import { Facts } from "../../components/figures/figures.tsx";
import { Money } from "../../components/figures/money.tsx";
import { Badge, type BadgeProps } from "../../components/figures/status.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { sentence, serviceName } from "../../format/names.ts";

export const VERDICTS = [
  { value: "", label: "All" },
  { value: "pass", label: "Passed" },
  { value: "fail", label: "Failed" },
  { value: "unproven", label: "Unproven" },
];

export const KINDS: Record<Audit["kind"], string> = {
  check: "Check",
  third: "Third miner",
  canary: "Canary",
  second_opinion: "Second opinion",
};

/** What the unproven audits or opinions are that count against a miner or an auditor. */
const AT_FAULT: Record<AuditStanding["role"], string> = { miner: "by the machine", auditor: "refuted" };

const DECISIONS: Record<NonNullable<Audit["verdict"]>, BadgeProps> = {
  pass: { tone: "good", icon: "check", word: "Passed" },
  fail: { tone: "bad", icon: "cross", word: "Failed" },
  unproven: { tone: "still", icon: "dash", word: "Unproven" },
};

/** The decision of an audit, or its state until there is one. */
export function Verdict({ audit: { status, verdict, opinion } }: { audit: Audit }) {
  const decision = verdict ?? (status === "decided" ? opinion : null);
  if (decision) return <Badge {...DECISIONS[decision]} />;
  return status === "running" ? (
    <Badge tone="busy" icon="play" word="Being checked" />
  ) : (
    <Badge tone="wait" icon="wait" word="Waiting" />
  );
}

/** What was compared: each distance with its limit, where the worst one is, and what followed. */
export function Comparison({ audit }: { audit: Audit }) {
  const rows = Object.entries(audit.distances).map(([name, distance]) => ({
    name,
    distance,
    limit: audit.limits[name],
  }));
  return (
    <>
      {audit.reason && <p>{audit.reason}</p>}
      {audit.verdictReason !== null && audit.verdictReason !== audit.reason && (
        <p>Another auditor: {audit.verdictReason}</p>
      )}
      {audit.contradiction && <p>{audit.contradiction}</p>}
      {audit.cause === "miner" && <p>What the machine sent or stated could not be compared.</p>}
      {rows.length > 0 && (
        <Table
          caption="Distances"
          rows={rows}
          rowKey={({ name }) => name}
          columns={[
            { title: "Distance", cell: ({ name }) => sentence(name) },
            { title: "Found", cell: ({ distance }) => number(distance), align: "end", shrink: true },
            {
              title: "Limit",
              cell: ({ limit }) => (limit === undefined ? "none" : number(limit)),
              align: "end",
              shrink: true,
            },
            {
              title: "Outcome",
              cell: ({ distance, limit }) => <Within distance={distance} limit={limit} />,
              shrink: true,
            },
          ]}
        />
      )}
      <Facts
        items={[
          ["Worst position", audit.where],
          ["Decided", audit.decidedAt && <Ago key="decided" at={audit.decidedAt} />],
          ["Probability", chance(audit.probability)],
          ["Forfeited", audit.enforced && <Money key="forfeited" amount={audit.forfeited} />],
        ]}
      />
    </>
  );
}

function Within({ distance, limit }: { distance: number; limit: number | undefined }) {
  if (limit === undefined) return <span class="quiet">not judged</span>;
  return distance > limit ? (
    <Badge tone="bad" icon="cross" word="Above" />
  ) : (
    <Badge tone="good" icon="check" word="Within" />
  );
}

function number(value: number): string {
  return value.toLocaleString("en", { maximumSignificantDigits: 3 });
}

/** Format the probability that an honest miner has so many failures. */
function chance(probability: number | null): string | undefined {
  if (probability === null || probability >= 1) return undefined;
  if (probability <= 0) return "none";
  const odds = Math.floor(1 / probability).toLocaleString("en", { maximumSignificantDigits: 2 });
  return `at most 1 in ${odds} that an honest miner has so many failures`;
}

/** The audit record of a miner, by service and model. */
export function Proofs({ proofs }: { proofs: AuditStanding[] }) {
  return (
    <Table
      caption="Audit record"
      rows={proofs}
      rowKey={({ role, service, model }) => `${role} ${service} ${model}`}
      columns={[
        {
          title: "Service",
          cell: ({ service, model, role }) => (
            <span>
              {serviceName(service)} {model && <span class="quiet">{model}</span>}
              {role === "auditor" && <span class="quiet small"> as an auditor</span>}
            </span>
          ),
        },
        { title: "Consecutive passes", cell: ({ passes }) => passes, align: "end" },
        { title: "Audited", cell: ({ checked }) => checked, align: "end" },
        { title: "Failed", cell: ({ failed }) => failed, align: "end" },
        {
          title: "Unproven",
          cell: ({ unproven, unprovenAtFault, role }) =>
            unprovenAtFault > 0 ? `${unproven}, ${unprovenAtFault} ${AT_FAULT[role]}` : unproven,
          align: "end",
          minor: true,
        },
        {
          title: "Canaries failed",
          cell: ({ canariesChecked, canariesFailed }) => `${canariesFailed} of ${canariesChecked}`,
          align: "end",
          minor: true,
        },
      ]}
    />
  );
}
