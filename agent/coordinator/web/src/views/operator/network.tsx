/** The operator's first page: the state of the network. */
import type { Health, MarketStats, MinerSummary, Overview, Wallet } from "@aitbc/client";
import { Card } from "../../components/card.tsx";
import { Facts, Figures } from "../../components/figures/figures.tsx";
import { Money } from "../../components/figures/money.tsx";
import { Ago } from "../../components/figures/time.tsx";
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
  const all = usePolled(read, SECONDS);
  useReload("admin", all.reload, isJobUpdate);
  return (
    <Page title="Network" lead={all.data && summary(all.data)}>
      <Loaded from={all} lines={3} height="7rem">
        {(state) => (
          <>
            <Attention {...state} />
            <Numbers {...state} />
          </>
        )}
      </Loaded>
      <Histories />
      {all.data && <Coordinator {...all.data} />}
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

/** Return the state of the network in one sentence. */
function summary({ overview, health }: NetworkState): string {
  const online = overview.miners.filter((miner) => miner.online).length;
  const { running = 0, submitted: waiting = 0 } = overview.jobs;
  const work =
    waiting > 0
      ? `${plural(running, "job")} running, ${count(waiting)} waiting`
      : `${plural(running, "job")} running`;
  return `${health.status === "ok" ? "The coordinator is healthy" : "The coordinator is degraded"}; ${plural(online, "miner")} online, ${work}.`;
}

/** What is wrong and what waits for the operator; nothing if all is well. */
function Attention({ overview, health }: NetworkState) {
  const { miners } = overview;
  const members = miners.filter(({ excludedAt }) => !excludedAt);
  const refused = members.filter(({ versionProblem }) => versionProblem);
  const offline = members.filter((miner) => !miner.online && !miner.versionProblem);
  const waiting = overview.jobs.submitted ?? 0;
  const unhealthy = Object.entries(health.services).filter(([, state]) => state !== "healthy");
  return (
    <>
      {unhealthy.length > 0 && (
        <Notice tone="bad" title="The coordinator is degraded">
          <p>
            Not healthy:{" "}
            {unhealthy.map(([name]) => (name === "blockchain" ? "the log" : sentence(name))).join(", ")}. Run{" "}
            <code>aitbc-agent logs</code> on its machine for the reason.
          </p>
        </Notice>
      )}
      {refused.length > 0 && (
        <Notice tone="bad" title={`${plural(refused.length, "miner")} refused for the version`}>
          <p>
            {links(refused)}. Their owners have to update the agent: <code>aitbc-agent update</code>.
          </p>
        </Notice>
      )}
      {members.every((miner) => !miner.online) ? (
        <Notice tone="wait" title="No miner is online">
          <p>
            {waiting > 0 ? `${plural(waiting, "job")} wait` : "Jobs wait"} until one is.{" "}
            <a href={`${BASE}/network/miners`}>Add a miner</a>, ideally a machine with a GPU.
          </p>
        </Notice>
      ) : (
        offline.length > 0 && (
          <Notice tone="wait" title={`${plural(offline.length, "miner")} offline`}>
            <p>{links(offline)}</p>
          </Notice>
        )
      )}
    </>
  );
}

/** Miners that a notice names. */
const NAMED = 5;

function links(miners: MinerSummary[]) {
  const more = miners.length - NAMED;
  return (
    <>
      {miners.slice(0, NAMED).map(({ minerId, name, seenAt }, index) => (
        <span key={minerId}>
          {index > 0 && ", "}
          <a href={`${BASE}/network/miners/${minerId}`}>{name}</a> (last seen <Ago at={seenAt} />)
        </span>
      ))}
      {more > 0 && (
        <>
          {" "}
          and <a href={`${BASE}/network/miners`}>{count(more)} more</a>
        </>
      )}
    </>
  );
}

function Numbers({ overview, stats, wallet }: NetworkState) {
  const online = overview.miners.filter((miner) => miner.online);
  const paused = online.filter((miner) => miner.paused !== null).length;
  return (
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
        {
          name: "Jobs waiting",
          value: count(overview.jobs.submitted ?? 0),
          href: `${BASE}/network/jobs?status=submitted`,
        },
        {
          name: "Completed",
          value: count(overview.jobs.completed ?? 0),
          note:
            stats.completedJobs > 0 ? `in ${duration(stats.averageCompletionTime)} on average` : undefined,
          href: `${BASE}/network/jobs?status=completed`,
        },
        {
          name: "Failed",
          value: count(overview.jobs.failed ?? 0),
          href: `${BASE}/network/jobs?status=failed`,
        },
        {
          name: "Paid for jobs",
          value: <Money amount={stats.totalVolume} />,
          note: (
            <>
              <Money amount={wallet.balance} /> of it fees
            </>
          ),
        },
      ]}
    />
  );
}

function Coordinator({ overview, wallet, health }: NetworkState) {
  return (
    <Card title="Coordinator">
      <Facts
        items={[
          ["Version", health.version],
          ["Environment", health.environment],
          ["Credits issued", <Money key="issued" amount={wallet.issued ?? "0"} />],
          [
            "Prices",
            <a key="offers" href={`${BASE}/network/offers`}>
              All offers of miners
            </a>,
          ],
          [
            "API",
            <a key="reference" href="/reference/">
              Interactive reference
            </a>,
          ],
          [
            "Database",
            `${plural(overview.database.writes, "change")} in ${plural(overview.database.commits, "commit")} since the start`,
          ],
        ]}
      />
    </Card>
  );
}
