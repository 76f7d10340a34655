/** The units of sale of each service, for pages that know only its id, such as a receipt's. */
import type { Service } from "@aitbc/client";
import type { Sold } from "./format/sale_units.ts";
import { useLoad } from "./load.ts";
import { publicApi } from "./session.ts";

let services: Promise<Service[]> | undefined;

/** Return a function that finds the units of sale of a service; for one that the coordinator does not know, the metering unit. */
export function useSaleUnits(): (serviceId: string | undefined, unit?: string) => Sold {
  const { data } = useLoad(definitions);
  return (serviceId, unit) => {
    const service = data?.find((service) => service.serviceId === serviceId?.replaceAll("-", "_"));
    // A receipt may be of another version of the service, whose unit was another one.
    return service && (unit === undefined || unit === service.unit) ? service : { unit: unit ?? "unit" };
  };
}

/** Definitions change only with the coordinator's version, so a page reads them once. */
export function definitions(): Promise<Service[]> {
  services ??= publicApi()
    .registry.services()
    .then(
      (list) => list.services,
      (error: unknown) => {
        services = undefined;
        throw error;
      },
    );
  return services;
}
