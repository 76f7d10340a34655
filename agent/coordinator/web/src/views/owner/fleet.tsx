/** All machines of an owner who has several, and their sums. */
import { Card } from "../../components/card.tsx";
import { Table } from "../../components/figures/table.tsx";
import { money } from "../../format/money.ts";
import { plural } from "../../format/size.ts";
import { usePolled } from "../../poll.ts";
import { BASE } from "../../routes.ts";
import { api } from "../../session.ts";

const SECONDS = 10;

export function Fleet() {
  const { data } = usePolled((signal) => api("miner").miners.fleet({ days: 1, signal }), SECONDS);
  if (!data || data.miners.length < 2) return null;
  return (
    <Card
      title="Your machines"
      note={`${data.online} of ${data.miners.length} online, ${plural(data.running, "job")} running, ${money(data.earnedToday)} earned today, ${money(data.totalEarned)} in total`}
    >
      <Table
        caption="Your machines"
        rows={data.miners}
        rowKey={(miner) => miner.minerId}
        href={(miner) => `${BASE}/machine?id=${miner.minerId}`}
        columns={[
          { title: "Name", cell: (miner) => miner.name },
          {
            title: "Status",
            cell: (miner) =>
              (miner.online ? miner.paused && `Paused ${miner.paused}` : "Offline") || "Online",
          },
          { title: "Jobs running", cell: (miner) => `${miner.running} of ${miner.slots}`, align: "end" },
          { title: "Earned today", amount: (miner) => miner.earnedToday },
          { title: "Total earned", amount: (miner) => miner.totalEarned },
        ]}
      />
    </Card>
  );
}
