/** The request that a job was created with, as its answer contains it. */
import type { Job } from "@aitbc/client";
import { isObject } from "../../schema/fields.ts";

/** What the answer about one job adds to that of lists. */
export interface JobRequest {
  labels?: Record<string, string>;
  parameters?: Record<string, unknown>;
  inputs?: JobInput[];
}

export interface JobInput {
  /** The field that named the file. */
  name: string;
  artifactId?: string;
  url?: string;
  size?: number;
}

/** Return the request for the same job, with the names of the service's schema and of the job's options. */
export function requestFor(job: Job & JobRequest): Record<string, unknown> {
  const request: Record<string, unknown> = { ...job.parameters };
  if (job.name !== job.serviceId) request.name = job.name;
  if (job.labels) request.labels = job.labels;
  for (const { name, artifactId, url } of job.inputs ?? []) {
    const address = artifactId ? `artifact:${artifactId}` : url;
    if (address) assign(request, name.split("."), address);
  }
  return request;
}

function assign(target: Record<string, unknown>, [name = "", ...rest]: string[], value: unknown): void {
  if (rest.length === 0) target[name] = value;
  else {
    const nested = isObject(target[name]) ? { ...target[name] } : {};
    target[name] = nested;
    assign(nested, rest, value);
  }
}
