/** The form of a new offer. */
import { useState } from "preact/hooks";
import { Button } from "../../components/controls/button.tsx";
import { NumberField, SelectField, TextField } from "../../components/controls/field.tsx";
import { Form } from "../../components/controls/form.tsx";
import { fieldErrors } from "../../errors.ts";
import { isMoney } from "../../format/money.ts";
import { serviceName } from "../../format/names.ts";
import { priceHelp } from "../../format/sale_units.ts";
import { spans } from "../../format/time.ts";
import { useLoad } from "../../load.ts";
import { api, publicApi } from "../../session.ts";

const SPANS = spans(1, 6, 24, 168, 720);
/** Option for jobs with a given name instead of a service. */
const NAMED = "";

export function OfferForm({ onMade, onCancel }: { onMade: () => void; onCancel: () => void }) {
  const services = useLoad((signal) => publicApi().registry.services({ signal }));
  const [service, setService] = useState("llm_inference");
  const [name, setName] = useState("");
  const [price, setPrice] = useState("");
  const [maxJobs, setMaxJobs] = useState<number | undefined>(10);
  const [span, setSpan] = useState(SPANS[2]?.value ?? "");
  const [refused, setRefused] = useState<Record<string, string>>({});
  const [tried, setTried] = useState(false);

  const chosen = services.data?.services.find(({ serviceId }) => serviceId === service);
  const jobType = service === NAMED ? name.trim() : service;
  const wrong: Record<string, string | undefined> = {
    ...refused,
    ...(tried && !jobType && { job_type: "Enter the name of the jobs." }),
    ...(tried && !isMoney(price) && { price: "Enter a number like 0.001, with at most 8 decimals." }),
    ...(tried && !maxJobs && { max_jobs: "Enter at least 1." }),
  };
  const send = async () => {
    setTried(true);
    setRefused({});
    if (!jobType || !isMoney(price) || !maxJobs) return;
    const body = { jobType, price, maxJobs, duration: Number(span) };
    await api("miner")
      .marketplace.createOffer(body)
      .then(onMade, (error: unknown) => {
        setRefused(fieldErrors(error));
        if (Object.keys(fieldErrors(error)).length === 0) throw error;
      });
  };
  const options = [
    ...(services.data?.services ?? []).map(({ serviceId }) => ({
      value: serviceId,
      label: serviceName(serviceId),
    })),
    { value: NAMED, label: "Jobs with a certain name\u2026" },
  ];
  return (
    <Form
      action="Create offer"
      beside={
        <Button kind="plain" onClick={onCancel}>
          Cancel
        </Button>
      }
      onSend={send}
    >
      <div class="form-grid">
        <SelectField
          label="Service"
          required
          value={service}
          onInput={setService}
          options={options}
          error={service === NAMED ? undefined : wrong.job_type}
        />
        {service === NAMED && (
          <TextField
            label="Job name"
            required
            value={name}
            onInput={setName}
            maxLength={64}
            error={wrong.job_type}
            help="The name that clients give their jobs, such as image-classification."
          />
        )}
        <TextField
          label="Price per unit"
          required
          value={price}
          onInput={setPrice}
          placeholder="0.001"
          error={wrong.price}
          help={chosen && priceHelp(price, chosen)}
        />
        <NumberField
          label="Number of jobs"
          required
          integer
          min={1}
          max={1_000_000}
          value={maxJobs}
          onInput={setMaxJobs}
          error={wrong.max_jobs}
        />
        <SelectField
          label="Ends after"
          required
          value={span}
          onInput={setSpan}
          options={SPANS}
          error={wrong.duration}
        />
      </div>
    </Form>
  );
}
