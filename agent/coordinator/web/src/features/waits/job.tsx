/** Why a job waits, what would change that, and the choice of an offer for it. */
import type { Job, JobExplanation, MarketMiner, Offer } from "@aitbc/client";
import { Coded } from "../../components/coded.tsx";
import { SelectField } from "../../components/controls/field.tsx";
import { type FieldProps, FormButton } from "../../components/controls/form-dialog.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Failure, Notice } from "../../components/notice.tsx";
import { Skeleton } from "../../components/skeleton.tsx";
import { notify } from "../../components/toast.tsx";
import { inFormWords } from "../../errors.ts";
import { sentence } from "../../format/names.ts";
import { price, type Sold } from "../../format/sale_units.ts";
import { plural } from "../../format/size.ts";
import { useLoad } from "../../load.ts";
import { usePolled } from "../../poll.ts";
import { useSaleUnits } from "../../sale_units.ts";
import { api } from "../../session.ts";
import { Reasons } from "./parts.tsx";

const POLL_SECONDS = 5;

export function Waiting({ job }: { job: Job }) {
  const missing = job.missingFiles ?? [];
  if (missing.length > 0) {
    return (
      <Notice tone="wait" title="Waiting for files">
        <p>Not uploaded yet: {missing.join(", ")}. The job starts when all files are uploaded.</p>
        <ChooseOffer job={job} />
      </Notice>
    );
  }
  return <Explained job={job} />;
}

function Explained({ job }: { job: Job }) {
  const explanation = usePolled((signal) => api("client").jobs.explain(job.jobId, { signal }), POLL_SECONDS, [
    job.jobId,
    job.offerId,
  ]);
  const { data } = explanation;
  if (!data) {
    return explanation.error ? (
      <Failure error={explanation.error} retry={explanation.reload} />
    ) : (
      <Skeleton height="5rem" />
    );
  }
  return (
    <Notice tone={data.canRun === "never" ? "bad" : "wait"} title={inFormWords(data.summary)}>
      <Reasons reasons={data.reasons} title={data.summary} />
      <Expectation explanation={data} />
      {job.attempts > 0 && <Earlier job={job} />}
      {data.miners.length > 0 && <Miners explanation={data} />}
      {!job.offerId && <ChooseOffer job={job} />}
    </Notice>
  );
}

/** Why the job runs again. */
function Earlier({ job: { attempts, maxAttempts, lastFailure } }: { job: Job }) {
  return (
    <p>
      Attempt {attempts + 1} of {maxAttempts} comes next.{" "}
      {lastFailure ? (
        <>
          Attempt {attempts} ended: <Coded text={inFormWords(lastFailure.message)} />
        </>
      ) : (
        `Attempt ${attempts} did not finish.`
      )}
    </p>
  );
}

function Expectation({ explanation: { position, estimatedStart } }: { explanation: JobExplanation }) {
  if (position === null && !estimatedStart) return null;
  return (
    <p class="small">
      {position !== null && `Number ${position} in the queue. `}
      {estimatedStart && (
        <>
          Expected to start <Ago at={estimatedStart} />.
        </>
      )}
    </p>
  );
}

/** Why each miner does not run the job. */
function Miners({ explanation: { miners, reasons } }: { explanation: JobExplanation }) {
  const words = new Map(reasons.map(({ code, message }) => [code, message]));
  return (
    <details class="fold small">
      <summary>{plural(miners.length, "miner")} considered</summary>
      <dl class="facts">
        {miners.map(({ minerId, name, reasons }) => [
          <dt key={`${minerId}-name`} title={minerId}>
            {name}
          </dt>,
          <dd key={minerId}>
            {reasons.length > 0
              ? reasons
                  .map((code) => inFormWords(words.get(code) ?? "") || `${sentence(code.toLowerCase())}.`)
                  .join(" ")
              : "Can run the job."}
          </dd>,
        ])}
      </dl>
    </details>
  );
}

function ChooseOffer({ job }: { job: Job }) {
  const accept = async ({ offerId, bidPrice }: Chosen) => {
    await api("client").marketplace.accept(offerId, { jobId: job.jobId, bidPrice });
    notify("The job was assigned to the offer.");
  };
  return (
    <div class="row">
      <FormButton
        title="Choose an offer for this job"
        label="Choose an offer"
        action="Assign the job"
        kind="normal"
        size="small"
        icon="market"
        initial={{ offer: { offerId: "", bidPrice: "" } }}
        ready={({ offer }) => offer.offerId !== ""}
        onSend={({ offer }) => accept(offer)}
      >
        {(field) => <Offers job={job} {...field("offer")} />}
      </FormButton>
    </div>
  );
}

interface Chosen {
  offerId: string;
  bidPrice: string;
}

function Offers({ job, value, onInput, error }: { job: Job } & FieldProps<Chosen>) {
  const saleUnits = useSaleUnits();
  const market = useLoad(async (signal) => {
    const { marketplace } = api("client");
    const [{ offers }, { miners }] = await Promise.all([
      marketplace.offers({ signal }),
      marketplace.miners({ signal }),
    ]);
    const fitting = offers.filter(({ jobType }) => [job.serviceId, job.name].includes(jobType));
    return { offers: fitting, miners };
  });
  const choose = (offers: Offer[], offerId: string) => {
    const offer = offers.find((offer) => offer.offerId === offerId);
    onInput({ offerId, bidPrice: offer?.price ?? "" });
  };
  return (
    <Loaded from={market}>
      {({ offers, miners }) =>
        offers.length === 0 ? (
          <p>No online miner has an offer for this job.</p>
        ) : (
          <>
            <SelectField
              label="Offer"
              required
              value={value.offerId}
              error={error}
              onInput={(offerId) => choose(offers, offerId)}
              options={[
                { value: "", label: "Choose one" },
                ...offers.map((offer) => choice(offer, miners, saleUnits(offer.jobType))),
              ]}
            />
            <p class="small quiet">
              Only its miner may then run the job, at this price, up to the job's maximum cost.
            </p>
          </>
        )
      }
    </Loaded>
  );
}

function choice({ offerId, minerId, price: offered }: Offer, miners: MarketMiner[], sold: Sold) {
  const name = miners.find((miner) => miner.minerId === minerId)?.name ?? minerId;
  return { value: offerId, label: `${name}: ${price(offered, sold)}` };
}
