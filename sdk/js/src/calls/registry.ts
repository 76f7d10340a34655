/** `client.registry`: the services, their schemas and requirements. Needs no key. */

import { type CallOptions, fetchJson, fetchRaw, part, type Session } from "../http/transport.js";
import type { ServiceDetails, ServiceList, ServiceRequirements, Validation } from "../models.js";
import type { JsonObject } from "../verification/shape.js";

const SERVICES = "/v1/registry/services";

/** The services, their schemas and requirements. */
export class Registry {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Return the services, optionally of a `category`, or with `search` in their name, description or tags. */
  services(
    options: { category?: string | undefined; search?: string | undefined } & CallOptions = {},
  ): Promise<ServiceList> {
    const { signal, ...query } = options;
    return fetchJson(this.#session, { path: SERVICES, query, signal });
  }

  /** Return a service with its models and output schema. */
  service(serviceId: string, options: CallOptions = {}): Promise<ServiceDetails> {
    return fetchJson(this.#session, { path: `${SERVICES}/${part(serviceId)}`, ...options });
  }

  /** Return the JSON Schema of a service's input, with the API's names, as in the `parameters` of a job. */
  async schema(serviceId: string, options: CallOptions = {}): Promise<JsonObject> {
    const path = `${SERVICES}/${part(serviceId)}/schema`;
    return (await fetchRaw(this.#session, { path, ...options })) as JsonObject;
  }

  /** Return the hardware that a service and its models need. */
  requirements(serviceId: string, options: CallOptions = {}): Promise<ServiceRequirements> {
    return fetchJson(this.#session, { path: `${SERVICES}/${part(serviceId)}/requirements`, ...options });
  }

  /**
   * Validate a request without creating a job. Returns all validation errors, and warnings.
   *
   * @param requestData - The body of a service call, with the API's names.
   */
  validate(serviceId: string, requestData: object, options: CallOptions = {}): Promise<Validation> {
    const json = { service_id: serviceId, request_data: requestData };
    const path = `${SERVICES}/validate`;
    return fetchJson(this.#session, { method: "POST", path, json, repeatable: true, ...options });
  }
}
