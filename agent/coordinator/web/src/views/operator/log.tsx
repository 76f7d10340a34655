/** The log of receipts and settlements: its newest checkpoint, its health, and how to check it. */
import type { Health } from "@aitbc/client";
import { Card } from "../../components/card.tsx";
import { Copyable } from "../../components/controls/copyable.tsx";
import { Empty } from "../../components/empty.tsx";
import { Facts, Figures } from "../../components/figures/figures.tsx";
import { Badge } from "../../components/figures/status.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Notice } from "../../components/notice.tsx";
import { Page } from "../../components/page.tsx";
import { Skeleton } from "../../components/skeleton.tsx";
import { codeOf } from "../../errors.ts";
import { count, plural } from "../../format/size.ts";
import { usePolled } from "../../poll.ts";
import { publicApi } from "../../session.ts";

const SECONDS = 5;

/** What a checkpoint says (C2SP tlog-checkpoint): origin, size, root hash, then signatures by name. */
interface Checkpoint {
  origin: string;
  size: number;
  root: string;
  signers: string[];
}

interface Everything {
  health: Health;
  checkpoint: Checkpoint | null;
}

export default function LogPage() {
  const log = usePolled(read, () => SECONDS);
  return (
    <Page
      title="Log"
      lead="Every receipt and every settlement, in an order that can only grow. Anybody can check it."
    >
      <Loaded from={log} skeleton={<Skeleton lines={3} height="6rem" />}>
        {({ health, checkpoint }) => (
          <>
            <Healthy health={health} />
            {checkpoint ? <Newest checkpoint={checkpoint} logKey={health.logKey} /> : <Nothing />}
            <Checking logKey={health.logKey} />
          </>
        )}
      </Loaded>
    </Page>
  );
}

async function read(signal: AbortSignal): Promise<Everything> {
  const client = publicApi();
  const [health, text] = await Promise.all([
    client.health({ signal }),
    client.log.checkpoint({ signal }).catch((error: unknown) => {
      if (codeOf(error) === "NOT_FOUND") return null; // a log without any leaf has none
      throw error;
    }),
  ]);
  return { health, checkpoint: text === null ? null : parse(text) };
}

/** The parts of a checkpoint as people read them; its signatures are checked by the commands below, not here. */
export function parse(text: string): Checkpoint {
  const [head = "", tail = ""] = text.split("\n\n");
  const [origin = "", size = "0", root = ""] = head.split("\n");
  const signers = tail
    .split("\n")
    .filter((line) => line.startsWith("\u2014 "))
    .map((line) => line.split(" ")[1] ?? "");
  return { origin, size: Number(size), root, signers };
}

function Healthy({ health }: { health: Health }) {
  if (health.services.blockchain === "healthy") return null;
  return (
    <Notice tone="bad" title="The log does not go on">
      <p>
        Jobs still run, but their receipts get no place in the log. The coordinator's own log says why;{" "}
        <code>aitbc-agent fsck</code> derives everything anew.
      </p>
    </Notice>
  );
}

function Newest({ checkpoint, logKey }: { checkpoint: Checkpoint; logKey: string }) {
  const witnesses = checkpoint.signers.filter((name) => name !== checkpoint.origin);
  return (
    <>
      <Figures
        items={[
          { name: "Leaves", value: count(checkpoint.size), note: "receipts and settlements" },
          {
            name: "Witnesses",
            value: count(witnesses.length),
            note: witnesses.join(", ") || "none has cosigned",
          },
        ]}
      />
      <Card
        title="Newest checkpoint"
        action={
          <Badge tone="good" icon="check">
            Signed
          </Badge>
        }
      >
        <Facts
          items={[
            ["Log", checkpoint.origin],
            ["Root hash", <Copyable key="root" text={checkpoint.root} what="root hash" />],
            ["Key", <Copyable key="key" text={logKey} what="log's key" />],
            ["Signed by", plural(checkpoint.signers.length, "key")],
          ]}
        />
      </Card>
    </>
  );
}

function Nothing() {
  return (
    <Empty icon="log" title="The log is empty">
      The first job that ends is its first leaf.
    </Empty>
  );
}

function Checking({ logKey }: { logKey: string }) {
  return (
    <Card title="Check it yourself">
      <p>
        This reads the whole log, recomputes its root and checks the signatures. Run again later, it also
        checks that nothing was changed of what it saw.
      </p>
      <Copyable
        text={`aitbc log verify ${location.origin}/v1/log --log-key '${logKey}' --remember seen.checkpoint`}
        what="command"
      />
      <p class="quiet small">
        <a href="/v1/log/checkpoint">The signed checkpoint</a> as it is served.
      </p>
    </Card>
  );
}
