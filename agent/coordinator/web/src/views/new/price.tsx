/** The estimated cost and duration of a job. */
import type { ServiceDetails } from "@aitbc/client";
import { Money, Price as UnitPrice } from "../../components/figures/money.tsx";
import { computed, isMoney, money } from "../../format/money.ts";
import { duration } from "../../format/time.ts";
import { type Estimate, estimated, estimateHint, type Media } from "../../schema/estimate.ts";

const WHOLE = 100;

export interface PriceProps {
  service: ServiceDetails;
  request: Record<string, unknown>;
  media: Media | undefined;
  /** Another miner checks the result. */
  audited: boolean;
  /** A value of the form is wrong, so that there is no estimate. */
  wrong: boolean;
  /** The client's limit, empty without one. */
  limit: string;
}

export function Price({ service, request, media, audited, wrong, limit }: PriceProps) {
  const estimate = wrong ? undefined : estimated(service, request, media);
  const model = typeof request.model === "string" ? request.model : null;
  const typical = service.durations.find((entry) => entry.model === model);
  const audit = audited ? service.audit : undefined;
  const extra = ((estimate?.cost ?? 0) * (audit?.percent ?? 0)) / WHOLE;
  const hint = wrong ? "Correct the form to see the price" : estimateHint(service.serviceId, request);
  if (!service.price) return <p class="quiet">The price is known once a machine offers this service.</p>;
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
        <dt>{estimate?.isLimit ? "At most about" : estimate ? "About" : "Price"}</dt>
        <dd>
          {estimate ? <Money amount={computed(estimate.cost + extra)} /> : <span class="quiet">{hint}</span>}
        </dd>
      </div>
      {estimate && <Basis estimate={estimate} limit={limit} />}
    </dl>
  );
}

/** What the estimate was counted from. */
function Basis({ estimate, limit }: { estimate: Estimate; limit: string }) {
  return (
    <div class="small quiet">
      <dt>
        For {estimate.basis}.{isMoney(limit) && <> Never more than {money(limit)}.</>}
      </dt>
    </div>
  );
}
