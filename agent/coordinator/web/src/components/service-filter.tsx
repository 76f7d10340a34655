/** Filters a list by service. */

import { serviceName } from "../format/names.ts";
import { useLoad } from "../load.ts";
import { publicApi } from "../session.ts";
import { SelectField } from "./controls/field.tsx";

/** The services as options of a field. */
export function useServices(): { value: string; label: string }[] {
  const services = useLoad((signal) => publicApi().registry.services({ signal }));
  return (services.data?.services ?? []).map(({ serviceId }) => ({
    value: serviceId,
    label: serviceName(serviceId),
  }));
}

export function ServiceFilter(props: { value: string; onInput: (service: string) => void }) {
  const options = [{ value: "", label: "All services" }, ...useServices()];
  return <SelectField label="Service" quiet {...props} options={options} />;
}
