/** The operator's first page: the state of the network. */
import type { Health, MarketStats, Overview, Wallet } from "@aitbc/client";
import { Card } from "../../components/card.tsx";
import { Facts, Figures } from "../../components/figures/figures.tsx";
import { Money } from "../../components/figures/money.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Notice } from "../../components/notice.tsx";
import { Page } from "../../components/page.tsx";
import { Histories } from "../../features/history/operator.tsx";
import { sentence } from "../../format/names.ts";
import { count, plural } from "../../format/size.ts";
import { duration } from "../../format/time.ts";
import { isJobUpdate, useReload } from "../../jobs.ts";
import { usePolled } from "../../poll.ts";
import { BASE } from "../../routes.ts";
import { api, publicApi } from "../../session.ts";

const SECONDS = 5;

interface NetworkState {
  overview: Overview;
  stats: MarketStats;
  wallet: Wallet;
  health: Health;
}

export default function Network() {
  const all = usePolled(read, () => SECONDS);
  useReload("admin", all.reload, isJobUpdate);
  return (
    <Page title="Network" lead="Miners, jobs and money of this coordinator.">
      <Loaded from={all} lines={3} height="7rem">
        {(state) => <Numbers {...state} />}
      </Loaded>
      <Histories />
    </Page>
  );
}

async function read(signal: AbortSignal): Promise<NetworkState> {
  const client = api("admin");
  const [overview, stats, wallet, health] = await Promise.all([
    client.admin.overview({ signal }),
    client.marketplace.stats({ signal }),
    client.wallet.get({ signal }),
    publicApi().health({ signal }),
  ]);
  return { overview, stats, wallet, health };
}

function Numbers({ overview, stats, wallet, health }: NetworkState) {
  const online = overview.miners.filter((miner) => miner.online);
  const paused = online.filter((miner) => miner.paused !== null).length;
  const waiting = overview.jobs.submitted ?? 0;
  const unhealthy = Object.entries(health.services).filter(([, state]) => state !== "healthy");
  return (
    <div class="stack">
      {unhealthy.length > 0 && (
        <Notice tone="bad" title="The coordinator is degraded">
          <p>
            Not healthy:{" "}
            {unhealthy.map(([name]) => (name === "blockchain" ? "the log" : sentence(name))).join(", ")}. The
            coordinator's log messages give the reason.
          </p>
        </Notice>
      )}
      {online.length === 0 && (
        <Notice tone="wait" title="No miner is online">
          <p>
            Jobs wait until one is. <a href={`${BASE}/network/keys`}>Create an enrolment token</a> and start
            an agent with it, ideally on a machine with a GPU.
          </p>
        </Notice>
      )}
      <Figures
        items={[
          {
            name: "Miners online",
            value: count(online.length),
            note: paused > 0 ? `${paused} paused` : `of ${count(overview.miners.length)}`,
            href: `${BASE}/network/miners`,
          },
          {
            name: "Jobs running",
            value: count(overview.jobs.running ?? 0),
            href: `${BASE}/network/jobs?status=running`,
          },
          { name: "Jobs waiting", value: count(waiting), href: `${BASE}/network/jobs?status=submitted` },
          {
            name: "Completed",
            value: count(overview.jobs.completed ?? 0),
            href: `${BASE}/network/jobs?status=completed`,
          },
          {
            name: "Failed",
            value: count(overview.jobs.failed ?? 0),
            href: `${BASE}/network/jobs?status=failed`,
          },
        ]}
      />
      <div class="grid">
        <Card title="Money">
          <Facts
            items={[
              ["Credited, less debits", <Money key="issued" amount={wallet.issued ?? "0"} />],
              ["Paid for jobs", <Money key="volume" amount={stats.totalVolume} />],
              ["Fees", <Money key="fees" amount={wallet.balance} />],
              [
                "Prices",
                <a key="offers" href={`${BASE}/network/offers`}>
                  All offers
                </a>,
              ],
            ]}
          />
        </Card>
        <Card title="Coordinator">
          <Facts
            items={[
              ["Status", health.status === "ok" ? "Healthy" : "Degraded"],
              ["Version", health.version],
              ["Environment", health.environment],
              [
                "API",
                <a key="reference" href="/reference/">
                  Interactive reference
                </a>,
              ],
              [
                "Job duration",
                stats.completedJobs > 0 ? `${duration(stats.averageCompletionTime)} on average` : undefined,
              ],
              [
                "Database",
                `${plural(overview.database.writes, "change")} in ${plural(overview.database.commits, "commit")} since start`,
              ],
            ]}
          />
        </Card>
      </div>
    </div>
  );
}
