/** Filters a list by service. */

import type { Service } from "@aitbc/client";

import { serviceName } from "../format/names.ts";
import { useLoad } from "../load.ts";
import { definitions } from "../sale_units.ts";
import { type Option, SelectField } from "./controls/field.tsx";

/** Return all services; none until they are loaded. */
export function useServices(): Service[] {
  return useLoad(definitions).data ?? [];
}

/** Return services as options of a field. */
export function serviceOptions(services: Service[]): Option[] {
  return services.map(({ serviceId }) => ({ value: serviceId, label: serviceName(serviceId) }));
}

export function ServiceFilter(props: { value: string; onInput: (service: string) => void }) {
  const options = [{ value: "", label: "All services" }, ...serviceOptions(useServices())];
  return <SelectField label="Service" quiet {...props} options={options} />;
}
