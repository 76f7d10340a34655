/** One miner of the network, for the operator. */
import { useRoute } from "preact-iso";
import { BASE } from "../../routes.ts";
import { MachinePage } from "../owner/machine.tsx";

export default function Miner() {
  const { params } = useRoute();
  return (
    <MachinePage by="admin" minerId={params.id} back={{ href: `${BASE}/network/miners`, name: "Miners" }} />
  );
}
