/** The first page of a client: what is going on. */

import { Loaded } from "../components/loaded.tsx";
import { Page } from "../components/page.tsx";
import { useJobList } from "../jobs.ts";
import { JobTable } from "./jobs.tsx";

const NEWEST = 8;

export default function Overview() {
  const list = useJobList({ limit: NEWEST, offset: 0 });
  return (
    <Page title="Overview">
      <Loaded from={list}>{({ jobs }) => <JobTable jobs={jobs} />}</Loaded>
    </Page>
  );
}
