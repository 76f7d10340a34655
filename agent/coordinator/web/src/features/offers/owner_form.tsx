/** The form of a new offer. */

import { ValidationFailed } from "@aitbc/client";

import { NumberField, SelectField, TextField } from "../../components/controls/field.tsx";
import { FormButton } from "../../components/controls/form-dialog.tsx";
import { serviceOptions, useServices } from "../../components/service-filter.tsx";
import { isMoney } from "../../format/money.ts";
import { priceHelp } from "../../format/sale_units.ts";
import { spans } from "../../format/time.ts";
import { api } from "../../session.ts";

const SPANS = spans(1, 6, 24, 168, 720);
/** Option for jobs with a given name instead of a service. */
const NAMED = "";
const NEW_OFFER = {
  service: "llm_inference",
  job_type: "",
  price: "",
  max_jobs: 10 as number | undefined,
  duration: SPANS[2]?.value ?? "",
};

export function NewOffer({ onMade }: { onMade: () => void }) {
  const services = useServices();
  const send = async ({ service, job_type, price, max_jobs, duration }: typeof NEW_OFFER) => {
    const jobType = service === NAMED ? job_type.trim() : service;
    if (!jobType || !isMoney(price) || !max_jobs) {
      const fields = {
        ...(!jobType && { job_type: "Enter the name of the jobs." }),
        ...(!isMoney(price) && { price: "Enter a number like 0.001, with at most 8 decimals." }),
        ...(!max_jobs && { max_jobs: "Enter at least 1." }),
      };
      throw new ValidationFailed(422, "VALIDATION_ERROR", "The offer is not complete.", {
        details: { fields },
      });
    }
    const offer = { jobType, price, maxJobs: max_jobs, duration: Number(duration) };
    await api("miner").marketplace.createOffer(offer);
    onMade();
  };
  const options = [...serviceOptions(services), { value: NAMED, label: "Jobs with a certain name\u2026" }];
  return (
    <FormButton title="New offer" action="Create offer" icon="add" initial={NEW_OFFER} onSend={send}>
      {(field, { service, price }) => {
        const chosen = services.find(({ serviceId }) => serviceId === service);
        return (
          <div class="form-grid">
            <SelectField
              label="Service"
              required
              {...field("service")}
              options={options}
              error={service === NAMED ? undefined : field("job_type").error}
            />
            {service === NAMED && (
              <TextField
                label="Job name"
                required
                {...field("job_type")}
                maxLength={64}
                help="The name that clients give their jobs, such as image-classification."
              />
            )}
            <TextField
              label="Price per unit"
              required
              {...field("price")}
              placeholder="0.001"
              help={chosen && priceHelp(price, chosen)}
            />
            <NumberField
              label="Number of jobs"
              required
              integer
              min={1}
              max={1_000_000}
              {...field("max_jobs")}
            />
            <SelectField label="Ends after" required {...field("duration")} options={SPANS} />
          </div>
        );
      }}
    </FormButton>
  );
}
