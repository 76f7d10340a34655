/** The estimated cost and duration of a job. */
import type { ServiceDetails } from "@aitbc/client";
import { Money, Price as UnitPrice } from "../../components/figures/money.tsx";
import { computed } from "../../format/money.ts";
import { duration } from "../../format/time.ts";
import { estimated, estimateHint, type Media } from "../../schema/estimate.ts";

const WHOLE = 100;

export interface PriceProps {
  service: ServiceDetails;
  request: Record<string, unknown>;
  media: Media | undefined;
  /** Another miner checks the result. */
  audited: boolean;
  /** A value of the form is wrong, so that there is no estimate. */
  wrong: boolean;
}

export function Price({ service, request, media, audited, wrong }: PriceProps) {
  const estimate = wrong ? undefined : estimated(service, request, media);
  const model = typeof request.model === "string" ? request.model : null;
  const typical = service.durations.find((entry) => entry.model === model);
  const audit = audited ? service.audit : undefined;
  const extra = audit && estimate ? (estimate.cost * audit.percent) / WHOLE : 0;
  if (!service.price) return <p>There is no price because no miner is online for this service.</p>;
  return (
    <dl class="receipt-lines">
      <div>
        <dt>Typical price</dt>
        <dd>
          <UnitPrice unitPrice={service.price.typical} of={service} />
        </dd>
      </div>
      {typical && (
        <div>
          <dt>Typical time</dt>
          <dd>{duration(typical.seconds)}</dd>
        </div>
      )}
      {audit && (
        <div>
          <dt>Audit, {audit.percent} % of the price</dt>
          <dd>{estimate && <Money amount={computed(extra)} />}</dd>
        </div>
      )}
      <div class="receipt-total">
        <dt>{estimate ? `About ${estimate.work}` : "Estimate"}</dt>
        <dd>
          {estimate ? (
            <Money amount={computed(estimate.cost + extra)} />
          ) : (
            <span class="quiet">
              {wrong ? "Correct the form to see an estimate" : estimateHint(service.serviceId, request)}
            </span>
          )}
        </dd>
      </div>
    </dl>
  );
}
