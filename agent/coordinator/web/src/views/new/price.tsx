/** About what the job will cost and how long it will take. */
import type { ServiceDetails } from "@aitbc/client";
import { Money } from "../../components/figures/money.tsx";
import { unitName, units } from "../../format/names.ts";
import { duration } from "../../format/time.ts";
import { estimated, type Media } from "../../schema/estimate.ts";

export interface PriceProps {
  service: ServiceDetails;
  request: Record<string, unknown>;
  media: Media | undefined;
}

export function Price({ service, request, media }: PriceProps) {
  const unit = unitName(service.unit);
  const estimate = estimated(service, request, media);
  const model = typeof request.model === "string" ? request.model : null;
  const typical = service.durations.find((entry) => entry.model === model);
  if (!service.price) return <p>No miner is online for this service, so there is no price at the moment.</p>;
  return (
    <dl class="receipt-lines">
      <div>
        <dt>Usual price per {unit}</dt>
        <dd>
          <Money amount={service.price.typical} />
        </dd>
      </div>
      {typical && (
        <div>
          <dt>Usual time</dt>
          <dd>{duration(typical.seconds)}</dd>
        </div>
      )}
      <div class="receipt-total">
        <dt>{estimate ? `About ${units(rounded(estimate.units), unit)}` : "Estimate"}</dt>
        <dd>
          {estimate ? (
            <Money amount={amount(estimate.cost)} />
          ) : (
            <span class="quiet">once it can be said</span>
          )}
        </dd>
      </div>
    </dl>
  );
}

function rounded(units: number): string {
  return units.toLocaleString("en", { maximumSignificantDigits: 3 });
}

/** An estimate with as many decimals as mean something. */
function amount(cost: number): string {
  return Number(cost.toPrecision(2)).toFixed(8).replace(/0+$/, "").replace(/\.$/, "");
}
