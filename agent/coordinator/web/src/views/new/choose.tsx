/** Lists the services to choose from for a new job. */
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { useLoad } from "../../load.ts";
import { publicApi } from "../../session.ts";
import { ServiceTiles } from "./tiles.tsx";

export default function Choose() {
  const services = useLoad((signal) => publicApi().registry.services({ signal }));
  return (
    <Page
      title="New job"
      lead="A machine of the network runs your job and signs the result. You pay for the work that it took, and never more than the maximum that you set."
    >
      <Loaded from={services} lines={6} height="5rem">
        {({ services }) => <ServiceTiles services={services} />}
      </Loaded>
    </Page>
  );
}
