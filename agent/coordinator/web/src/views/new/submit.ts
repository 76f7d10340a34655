/** Submitting a form: its files first, then the job. */
import type { CreatedJob, ServiceDetails } from "@aitbc/client";
import { type FormField, type FormValues, requestOf, withFiles } from "../../schema/fields.ts";
import { api } from "../../session.ts";

export interface SubmitOptions {
  offerId: string | undefined;
  /** How far the upload of a field's file is, in percent. */
  onProgress: (name: string, percent: number) => void;
}

const WHOLE = 100;

/** Uploads what are files, and creates the job: by the service's own call, or as a job of its type where there is none. */
export async function submitted(
  service: ServiceDetails,
  fields: FormField[],
  values: FormValues,
  { offerId, onProgress }: SubmitOptions,
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
  };
  // With it the call is repeated where its answer gets lost, and one job comes of it.
  const idempotencyKey = crypto.getRandomValues(new Uint32Array(4)).join("-");
  return service.route
    ? client.services.call(service.route.replace("/v1/services/", ""), request, { idempotencyKey })
    : client.jobs.create({ ...request, type: service.serviceId }, { idempotencyKey });
}
