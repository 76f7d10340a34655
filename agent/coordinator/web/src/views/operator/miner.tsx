/** One miner of the network, for the operator: its page, its record, and its exclusion or removal. */
import type { MinerSummary } from "@aitbc/client";
import { useState } from "preact/hooks";
import { useLocation, useRoute } from "preact-iso";
import { Card } from "../../components/card.tsx";
import { ask } from "../../components/controls/dialog.tsx";
import { TextField } from "../../components/controls/field.tsx";
import { FormDialog } from "../../components/controls/form-dialog.tsx";
import { Menu } from "../../components/controls/menu.tsx";
import { Facts } from "../../components/figures/figures.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Notice } from "../../components/notice.tsx";
import { notify } from "../../components/toast.tsx";
import { count, plural } from "../../format/size.ts";
import { type Loading, useLoad } from "../../load.ts";
import { BASE } from "../../routes.ts";
import { api } from "../../session.ts";
import { MachinePage } from "../owner/machine.tsx";

const MINERS = `${BASE}/network/miners`;

export default function Miner() {
  const { id = "" } = useRoute().params;
  const found = useLoad(
    async (signal) =>
      (await api("admin").admin.overview({ signal })).miners.find(({ minerId }) => minerId === id),
    [id],
  );
  return (
    <MachinePage by="admin" minerId={id} back={{ href: MINERS, name: "Miners" }}>
      {found.data && <Record miner={found.data} reload={found.reload} />}
    </MachinePage>
  );
}

function Record({ miner, reload }: { miner: MinerSummary } & Pick<Loading<unknown>, "reload">) {
  const { route } = useLocation();
  const [excluding, setExcluding] = useState(false);
  const include = async () => {
    await api("admin").admin.includeMiner(miner.minerId);
    reload();
    notify(`${miner.name} may join again. Its agent tries every few minutes.`);
  };
  const remove = async () => {
    const text =
      "Its running jobs go to other miners and its offers end. Its receipts and earnings stay. It can join again with a token; to keep it out, exclude it.";
    if (!(await ask({ title: `Remove ${miner.name}?`, text, action: "Remove" }))) return;
    const { requeuedJobs } = await api("admin").admin.removeMiner(miner.minerId);
    notify(`${miner.name} was removed. ${plural(requeuedJobs, "running job")} returned to the queue.`);
    route(MINERS);
  };
  const failure = miner.lastFault;
  return (
    <>
      {miner.excludedAt && (
        <Notice tone="bad" title="Excluded from this network">
          <p>
            <Ago at={miner.excludedAt} />
            {miner.excludedReason && `: ${miner.excludedReason}`}
          </p>
        </Notice>
      )}
      <Card
        title="Record"
        action={
          <Menu
            label="More"
            items={[
              miner.excludedAt
                ? { name: "Readmit", icon: "check", act: include }
                : { name: "Exclude", icon: "cross", danger: true, act: () => setExcluding(true) },
              { name: "Remove", icon: "trash", danger: true, act: remove },
            ]}
          />
        }
      >
        <Facts
          items={[
            ["Runs completed", count(miner.completedRuns)],
            ["Runs failed by this machine", count(miner.failedRuns)],
            ["Results refused", count(miner.refusedResults)],
            [
              "Last run that failed, also for other causes",
              failure ? (
                <span key="failure">
                  <Ago at={failure.time} />:{" "}
                  <a href={`${BASE}/network/jobs/${failure.jobId}`}>{failure.code ?? "Lease expired"}</a>
                  {failure.message && `. ${failure.message}`}
                </span>
              ) : (
                "none"
              ),
            ],
          ]}
        />
      </Card>
      <ExcludeDialog miner={miner} open={excluding} onClose={() => setExcluding(false)} onExcluded={reload} />
    </>
  );
}

interface ExcludeProps {
  miner: MinerSummary;
  open: boolean;
  onClose: () => void;
  onExcluded: () => void;
}

function ExcludeDialog({ miner, open, onClose, onExcluded }: ExcludeProps) {
  const exclude = async (exclusion: { reason: string }) => {
    await api("admin").admin.excludeMiner(miner.minerId, exclusion);
    onExcluded();
    notify(`${miner.name} was excluded.`);
  };
  return (
    <FormDialog
      title={`Exclude ${miner.name}?`}
      action="Exclude"
      danger
      open={open}
      onClose={onClose}
      initial={{ reason: "" }}
      onSend={exclude}
    >
      {(field) => (
        <>
          <p>Its running jobs go to other miners, and it cannot join until you readmit it.</p>
          <TextField
            label="Reason"
            {...field("reason")}
            maxLength={200}
            help="The machine's owner can see it."
          />
        </>
      )}
    </FormDialog>
  );
}
