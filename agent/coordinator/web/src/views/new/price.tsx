/** The estimated cost and duration of a job. */
import type { ServiceDetails } from "@aitbc/client";
import { Money, Price as UnitPrice } from "../../components/figures/money.tsx";
import { type Line, Lines } from "../../components/slip.tsx";
import { computed, isMoney, money } from "../../format/money.ts";
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
  const items: Line[] = [
    ["Typical price", <UnitPrice key="price" unitPrice={service.price.typical} of={service} />],
  ];
  if (typical) items.push(["Typical time", duration(typical.seconds)]);
  if (audit) {
    items.push([`Audit, ${audit.percent} % of the price`, estimate && <Money amount={computed(extra)} />]);
  }
  return (
    <>
      <Lines
        items={items}
        total={
          estimate
            ? [
                estimate.isLimit ? "At most about" : "About",
                <Money key="cost" amount={computed(estimate.cost + extra)} />,
              ]
            : [
                "Price",
                <span key="hint" class="quiet">
                  {hint}
                </span>,
              ]
        }
      />
      {estimate && (
        <p class="small quiet">
          For {estimate.basis}.{isMoney(limit) && ` Never more than ${money(limit)}.`}
        </p>
      )}
    </>
  );
}
