/** A job as the coordinator describes it, and as what this browser knows about it. */
import type { JobDetails, SealedRequest } from "@aitbc/client";
import { type Loading, useLoad } from "../../load.ts";
import { api } from "../../session.ts";

/** `own` is what this browser sealed. Then the job is sealed, and the coordinator has no say in that. */
export type Described = JobDetails & { own: SealedRequest | undefined; isSealed: boolean };

/** Load a job, again whenever one of `keys` changes. */
export function useDescribed(jobId: string, keys: unknown[]): Loading<Described> {
  return useLoad(
    async (signal) => {
      const { jobs } = api("client");
      const own = await jobs.sealedRequest(jobId);
      const details = await jobs.get(jobId, { signal });
      return { ...details, own, isSealed: Boolean(own ?? details.sealed) };
    },
    [jobId, ...keys],
  );
}
