/** How many miners offer a service and from what price, or why none does. */
import type { Service } from "@aitbc/client";
import { Coded } from "../../components/coded.tsx";
import { price } from "../../format/sale_units.ts";
import { plural } from "../../format/size.ts";
import { useLoad } from "../../load.ts";
import { api, useRoles } from "../../session.ts";

interface AvailabilityProps {
  service: Service;
  /** All services. */
  among: Service[];
}

export function Availability({ service, among }: AvailabilityProps) {
  if (service.minersOnline > 0) {
    const from = service.price ? `, from ${price(service.price.lowest, service)}` : "";
    return <>{`${plural(service.minersOnline, "miner")}${from}`}</>;
  }
  if (among.every(({ minersOnline }) => minersOnline === 0)) {
    return <>No machine is online; jobs wait until one is</>;
  }
  return (
    <>
      No machine offers this now; jobs wait until one does. <OwnReasons service={service} />
    </>
  );
}

/** Why the machine of this session's owner does not offer a service. */
function OwnReasons({ service }: { service: Service }) {
  const owner = useRoles().includes("miner");
  const machine = useLoad(
    async (signal) => (owner ? (await api("miner").miners.list({ limit: 1, signal })).miners[0] : undefined),
    [owner],
  );
  const reasons = machine.data?.unavailable[service.serviceId] ?? [];
  return reasons.length > 0 ? (
    <>
      Your machine: <Coded text={reasons.join(" ")} />
    </>
  ) : null;
}
