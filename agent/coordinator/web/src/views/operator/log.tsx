/** The log of receipts and settlements: its latest checkpoint, its health, and how to verify it. */
import type { Health } from "@aitbc/client";
import { Card } from "../../components/card.tsx";
import { Copyable } from "../../components/controls/copyable.tsx";
import { Empty } from "../../components/empty.tsx";
import { Facts, Figures } from "../../components/figures/figures.tsx";
import { Badge } from "../../components/figures/status.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Notice } from "../../components/notice.tsx";
import { Page } from "../../components/page.tsx";
import { codeOf } from "../../errors.ts";
import { count, plural } from "../../format/size.ts";
import { usePolled } from "../../poll.ts";
import { publicApi } from "../../session.ts";

const SECONDS = 5;

/** A checkpoint (C2SP tlog-checkpoint): origin, size, root hash and the names of its signers. */
interface Checkpoint {
  origin: string;
  size: number;
  root: string;
  signers: string[];
}

interface LogState {
  health: Health;
  checkpoint: Checkpoint | null;
}

export default function LogPage() {
  const log = usePolled(read, SECONDS);
  return (
    <Page title="Log" lead={log.data && answer(log.data)}>
      <Loaded from={log} lines={3} height="6rem">
        {({ health, checkpoint }) => (
          <>
            <Problem health={health} />
            {checkpoint ? <Latest checkpoint={checkpoint} logKey={health.logKey} /> : <EmptyLog />}
            <HowToVerify logKey={health.logKey} />
          </>
        )}
      </Loaded>
    </Page>
  );
}

/** Return in one sentence whether the log works and who vouches for it. */
function answer({ health, checkpoint }: LogState): string {
  const about = "Every receipt and payment is written here, so that nobody can change it later.";
  if (health.services.blockchain !== "healthy") return `The log has stopped. ${about}`;
  if (!checkpoint) return `The log works, and is empty. ${about}`;
  const witnesses = witnessesOf(checkpoint).length;
  const vouched =
    witnesses === 0
      ? "no witness watches it yet"
      : `${plural(witnesses, "witness", "witnesses")} signed it too`;
  return `The log works; ${vouched}. ${about}`;
}

async function read(signal: AbortSignal): Promise<LogState> {
  const client = publicApi();
  const [health, text] = await Promise.all([
    client.health({ signal }),
    client.log.checkpoint({ signal }).catch((error: unknown) => {
      if (codeOf(error) === "NOT_FOUND") return null; // an empty log has no checkpoint
      throw error;
    }),
  ]);
  return { health, checkpoint: text === null ? null : parse(text) };
}

/** Parse a checkpoint to show it. The command on this page verifies its signatures. */
export function parse(text: string): Checkpoint {
  const [head = "", tail = ""] = text.split("\n\n");
  const [origin = "", size = "0", root = ""] = head.split("\n");
  const signers = tail
    .split("\n")
    .filter((line) => line.startsWith("\u2014 "))
    .map((line) => line.split(" ")[1] ?? "");
  return { origin, size: Number(size), root, signers };
}

function Problem({ health }: { health: Health }) {
  if (health.services.blockchain === "healthy") return null;
  return (
    <Notice tone="bad" title="The log has stopped">
      <p>
        Jobs still run, but their receipts are not added to the log. The coordinator's log messages give the
        reason; <code>aitbc-agent fsck</code> rebuilds the log.
      </p>
    </Notice>
  );
}

/** The names of those who signed beside the coordinator. */
function witnessesOf({ signers, origin }: Checkpoint): string[] {
  return signers.filter((name) => name !== origin);
}

function Latest({ checkpoint, logKey }: { checkpoint: Checkpoint; logKey: string }) {
  const witnesses = witnessesOf(checkpoint);
  return (
    <>
      <Figures
        items={[
          { name: "Entries", value: count(checkpoint.size), note: "receipts and settlements" },
          {
            name: "Witnesses",
            value: count(witnesses.length),
            note: witnesses.join(", ") || "nobody else signs it",
          },
        ]}
      />
      <Card title="Latest checkpoint" action={<Badge tone="good" icon="check" word="Signed" />}>
        <Facts
          items={[
            ["Log", checkpoint.origin],
            ["Root hash", <Copyable key="root" text={checkpoint.root} noun="root hash" />],
            ["Key", <Copyable key="key" text={logKey} noun="log key" />],
            ["Signed by", plural(checkpoint.signers.length, "key")],
          ]}
        />
      </Card>
    </>
  );
}

function EmptyLog() {
  return (
    <Empty icon="log" title="The log is empty">
      The first completed job adds the first entry.
    </Empty>
  );
}

function HowToVerify({ logKey }: { logKey: string }) {
  return (
    <Card title="Verify the log">
      <p>
        Run this command on any machine, so that you need not trust this coordinator: it reads the whole log
        and checks the signatures. Run it again later, and it also checks that no earlier entry has changed.
      </p>
      <Copyable
        text={`aitbc log verify ${location.origin}/v1/log --log-key '${logKey}' --remember seen.checkpoint`}
        noun="command"
      />
      <p class="quiet small">
        <a href="/v1/log/checkpoint">View the signed checkpoint</a>
      </p>
    </Card>
  );
}
