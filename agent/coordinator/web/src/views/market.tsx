/** The marketplace for clients: the miners' offers, accepting one of them, and market statistics. */
import type { Offer } from "@aitbc/client";
import { useState } from "preact/hooks";
import { useRoute } from "preact-iso";
import { Button } from "../components/controls/button.tsx";
import { Dialog } from "../components/controls/dialog.tsx";
import { SelectField } from "../components/controls/field.tsx";
import { Empty } from "../components/empty.tsx";
import { Figures } from "../components/figures/figures.tsx";
import { Money } from "../components/figures/money.tsx";
import { Table } from "../components/figures/table.tsx";
import { Ago } from "../components/figures/time.tsx";
import { Loaded } from "../components/loaded.tsx";
import { Notice } from "../components/notice.tsx";
import { Page } from "../components/page.tsx";
import { Skeleton } from "../components/skeleton.tsx";
import { complain, notify } from "../components/toast.tsx";
import { serviceName, shortId, unitName } from "../format/names.ts";
import { count } from "../format/size.ts";
import { duration } from "../format/time.ts";
import { useGathered } from "../jobs.ts";
import { useLive } from "../live.ts";
import { useLoad } from "../load.ts";
import { BASE } from "../routes.ts";
import { api, publicApi } from "../session.ts";

const MOST = 100;

export default function Market() {
  const { query } = useRoute();
  const [jobType, setJobType] = useState(query.type ?? "");
  const [offer, setOffer] = useState<Offer>();
  const services = useLoad((signal) => publicApi().registry.services({ signal }));
  const offers = useLoad(
    (signal) => api("client").marketplace.offers({ jobType: jobType || undefined, limit: MOST, signal }),
    [jobType],
  );
  const reload = useGathered(offers.reload);
  useLive("client", (event) => {
    if (event.type === "marketplace_update" && event.data.kind === "offer") reload();
  });
  const units = new Map((services.data?.services ?? []).map((service) => [service.serviceId, service.unit]));
  const options = [
    { value: "", label: "All jobs" },
    ...[...units.keys()].map((id) => ({ value: id, label: serviceName(id) })),
  ];
  return (
    <Page
      title="Marketplace"
      lead="Prices that miners ask for each unit of work. A job without an offer goes to the cheapest miner that can run it."
    >
      <Statistics />
      <div class="filters">
        <h2>Offers</h2>
        <SelectField label="For" quiet value={jobType} onInput={setJobType} options={options} />
      </div>
      <Loaded from={offers} skeleton={<Skeleton lines={6} height="2.75rem" />}>
        {({ offers }) =>
          offers.length > 0 ? (
            <Offers offers={offers} units={units} onAccept={setOffer} />
          ) : (
            <Empty icon="market" title="No offers">
              No online miner offers this. New offers appear here automatically.
            </Empty>
          )
        }
      </Loaded>
      <Accept offer={offer} onClose={() => setOffer(undefined)} />
    </Page>
  );
}

function Statistics() {
  const stats = useLoad((signal) => api("client").marketplace.stats({ signal }));
  const reload = useGathered(stats.reload);
  useLive("client", (event) => {
    if (event.type === "job_update") reload();
  });
  return (
    <Loaded from={stats} skeleton={<Skeleton height="5rem" />}>
      {(stats) => (
        <Figures
          items={[
            { name: "Miners online", value: count(stats.activeMiners) },
            { name: "Active jobs", value: count(stats.activeJobs) },
            { name: "Completed", value: count(stats.completedJobs) },
            { name: "Failed", value: count(stats.failedJobs) },
            { name: "Typical time", value: duration(stats.averageCompletionTime) },
            { name: "Total paid", value: <Money amount={stats.totalVolume} short /> },
          ]}
        />
      )}
    </Loaded>
  );
}

interface OffersProps {
  offers: Offer[];
  units: Map<string, string>;
  onAccept: (offer: Offer) => void;
}

function Offers({ offers, units, onAccept }: OffersProps) {
  return (
    <Table
      caption="Offers, cheapest first"
      rows={offers}
      rowKey={(offer) => offer.offerId}
      columns={[
        { title: "For", cell: ({ jobType }) => (units.has(jobType) ? serviceName(jobType) : jobType) },
        {
          title: "Price",
          align: "end",
          cell: ({ price, jobType }) => (
            <span>
              <Money amount={price} />{" "}
              <span class="quiet small">per {unitName(units.get(jobType) ?? "unit")}</span>
            </span>
          ),
        },
        { title: "Miner", cell: (offer) => <Miner offer={offer} /> },
        { title: "Reputation", cell: ({ reputation }) => <Reputation value={reputation} />, align: "end" },
        { title: "Ends", cell: (offer) => <Ends offer={offer} />, align: "end", shrink: true },
        {
          title: "Actions",
          hideTitle: true,
          align: "end",
          shrink: true,
          cell: (offer) => (
            <span class="row" data-tight="true">
              <Button
                size="small"
                label={`New job for the offer of ${shortId(offer.minerId)}, ${serviceName(offer.jobType)}`}
                href={`${BASE}/new/${units.has(offer.jobType) ? `${offer.jobType}?offer=${offer.offerId}` : ""}`}
              >
                New job
              </Button>
              <Button
                size="small"
                label={`Assign a waiting job to the offer of ${shortId(offer.minerId)}, ${serviceName(offer.jobType)}`}
                onClick={() => onAccept(offer)}
              >
                Assign a waiting job
              </Button>
            </span>
          ),
        },
      ]}
    />
  );
}

function Reputation({ value }: { value: number | undefined }) {
  if (value === undefined) return <span class="quiet">new</span>;
  return <span title="From 0 to 5">{value.toFixed(1)}</span>;
}

/** The miner of an offer, and its machine's minimum resources. */
function Miner({ offer: { minerId, requirements } }: { offer: Offer }) {
  const parts = [
    requirements.minGpuMemory && `${requirements.minGpuMemory} GPU memory`,
    requirements.minCpu && `${requirements.minCpu} CPU`,
  ].filter(Boolean);
  return (
    <span>
      <span class="mono">{shortId(minerId)}</span>
      {parts.length > 0 && <span class="quiet small"> {parts.join(", ")}</span>}
    </span>
  );
}

function Ends({ offer }: { offer: Offer }) {
  if (offer.standing) return <span class="quiet">standing</span>;
  return (
    <span>
      {offer.jobsLeft !== undefined && `${count(offer.jobsLeft)} left, `}
      {offer.expiresAt && <Ago at={offer.expiresAt} />}
    </span>
  );
}

function Accept({ offer, onClose }: { offer: Offer | undefined; onClose: () => void }) {
  return (
    <Dialog title="Assign a waiting job to this offer" open={offer !== undefined} onClose={onClose}>
      {offer && <WaitingJobs offer={offer} onDone={onClose} />}
    </Dialog>
  );
}

function WaitingJobs({ offer, onDone }: { offer: Offer; onDone: () => void }) {
  const [jobId, setJobId] = useState("");
  const waiting = useLoad((signal) => api("client").jobs.list({ status: "submitted", signal }));
  const accept = async () => {
    await api("client").marketplace.accept(offer.offerId, { jobId, bidPrice: offer.price });
    notify("The job was assigned to the offer.");
    onDone();
  };
  return (
    <Loaded from={waiting}>
      {({ jobs }) => {
        const fitting = jobs.filter((job) => [job.serviceId, job.name].includes(offer.jobType));
        if (fitting.length === 0) {
          return (
            <Notice tone="still">
              <p>None of your waiting jobs matches this offer. To submit one for it, choose “New job”.</p>
            </Notice>
          );
        }
        const options = [
          { value: "", label: "Choose a job" },
          ...fitting.map((job) => ({ value: job.jobId, label: `${job.name}, ${shortId(job.jobId)}` })),
        ];
        return (
          <>
            <SelectField label="Job" required value={jobId} onInput={setJobId} options={options} />
            <p>
              It costs <Money amount={offer.price} /> per unit, up to the job's maximum cost.
            </p>
            <div class="dialog-actions">
              <Button onClick={onDone}>Cancel</Button>
              <Button kind="main" disabled={!jobId} onClick={() => accept().catch(complain)}>
                Assign job
              </Button>
            </div>
          </>
        );
      }}
    </Loaded>
  );
}
