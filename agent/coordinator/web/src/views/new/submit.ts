/** Submits a form: uploads its files, then creates the job. */
import type { CreatedJob, ServiceDetails } from "@aitbc/client";
import { type FormField, type FormValues, requestOf, withFiles } from "../../schema/fields.ts";
import { api } from "../../session.ts";

export interface SubmitOptions {
  offerId: string | undefined;
  /** Submit the job even if no miner can run it now or later as the network is. */
  wait: boolean;
  /** Called with the upload progress of a field's file, in percent. */
  onProgress: (name: string, percent: number) => void;
}

const WHOLE = 100;

/** Upload the files and create the job, through the service's own call if it has one. */
export async function submitForm(
  service: ServiceDetails,
  fields: FormField[],
  values: FormValues,
  { offerId, wait, onProgress }: SubmitOptions,
): Promise<CreatedJob> {
  const client = api("client");
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
  const idempotencyKey = crypto.getRandomValues(new Uint32Array(4)).join("-");
  return service.route
    ? client.services.call(service.route.replace("/v1/services/", ""), request, { idempotencyKey })
    : client.jobs.create({ ...request, type: service.serviceId }, { idempotencyKey });
}
