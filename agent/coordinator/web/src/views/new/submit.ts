/** Submits a form: uploads its files, then creates the job. */
import type { CreatedJob, JobDetails, JsonObject, RerunOptions, ServiceDetails } from "@aitbc/client";
import { type FormField, type FormValues, requestOf, withFiles } from "../../schema/fields.ts";
import { api } from "../../session.ts";
import { changesOf } from "../job/request.ts";
import { JOB_OPTIONS, NOT_SEALED } from "./options.ts";

export interface SubmitOptions {
  offerId: string | undefined;
  /** Submit the job even if no miner can run it now or later as the network is. */
  wait: boolean;
  /** The job to run again. */
  earlier: JobDetails | undefined;
  /** The miner to which the job is sealed. */
  sealedTo: string | undefined;
  /** Called with the upload progress of a field's file, in percent. */
  onProgress: (name: string, percent: number) => void;
}

const WHOLE = 100;

/** Upload the files and create the job, through the service's own call if it has one. */
export async function submitForm(
  service: ServiceDetails,
  fields: FormField[],
  values: FormValues,
  { offerId, wait, earlier, sealedTo, onProgress }: SubmitOptions,
): Promise<CreatedJob> {
  const client = api("client");
  if (sealedTo) return submitSealed(service, fields, values, { offerId, wait, sealedTo, onProgress });
  const addresses = new Map<string, string>();
  for (const [name, value] of Object.entries(values)) {
    if (!(value instanceof File)) continue;
    const { artifactId } = await client.artifacts.upload(value, {
      onProgress: (done, total) => onProgress(name, total ? (done / total) * WHOLE : WHOLE),
    });
    addresses.set(name, `artifact:${artifactId}`);
  }
  const request = {
    ...requestOf(
      fields,
      withFiles(values, (name) => addresses.get(name) ?? ""),
    ),
    ...(offerId ? { offer_id: offerId } : {}),
    ...(wait ? { wait } : {}),
  };
  // With a key, the client repeats the call if the response is lost, without creating a second job.
  const idempotencyKey = newKey();
  if (earlier) return client.jobs.rerun(earlier.jobId, { ...rerunOf(earlier, request), idempotencyKey });
  return service.route
    ? client.services.call(service.route.replace("/v1/services/", ""), request, { idempotencyKey })
    : client.jobs.create({ ...request, type: service.serviceId }, { idempotencyKey });
}

/** Seal the files and the request in this browser, and create the job. */
async function submitSealed(
  { serviceId }: ServiceDetails,
  fields: FormField[],
  values: FormValues,
  { offerId, wait, sealedTo, onProgress }: Omit<SubmitOptions, "earlier">,
): Promise<CreatedJob> {
  const given = Object.entries(values).filter(([name]) => !NOT_SEALED.has(name));
  const files = Object.fromEntries(
    given.filter((entry): entry is [string, File] => entry[1] instanceof File),
  );
  const rest = Object.fromEntries(given.filter(([, value]) => !(value instanceof File)));
  const request = { ...requestOf(fields, rest), ...(wait ? { wait } : {}) };
  const to = offerId ? { offer_id: offerId } : { miner_id: sealedTo };
  return api("client").jobs.create(
    { ...request, ...to, type: serviceId, seal: true },
    {
      files,
      idempotencyKey: newKey(),
      onProgress: (name, done, total) => onProgress(name, total ? (done / total) * WHOLE : WHOLE),
    },
  );
}

function newKey(): string {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}

/** Return how a job differs from an earlier one: changed parameters, and the options of the job that are filled in. */
function rerunOf(earlier: JobDetails, request: Record<string, unknown>): RerunOptions {
  const names = new Set([...JOB_OPTIONS.map(({ name }) => name.split(".")[0]), "offer_id", "wait"]);
  const entries = Object.entries(request);
  const parameters = Object.fromEntries(entries.filter(([name]) => !names.has(name)));
  const options = Object.fromEntries(entries.filter(([name]) => names.has(name)));
  return { set: changesOf(earlier.parameters, parameters) as JsonObject, ...options };
}
