/** `client.registry`: which services there are, what they take, what they need. No key is needed. */

import { type CallOptions, fetchJson, fetchRaw, part, type Session } from "../http/transport.js";
import type { ServiceDetails, ServiceList, ServiceRequirements, Validation } from "../models.js";
import type { JsonObject } from "../verification/shape.js";

const SERVICES = "/v1/registry/services";

/** The registry: which services there are, what they take, what they need. */
export class Registry {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /** All services; only those of a `category`, or with `search` in name, description or tags, where given. */
  services(
    options: { category?: string | undefined; search?: string | undefined } & CallOptions = {},
  ): Promise<ServiceList> {
    const { signal, ...query } = options;
    return fetchJson(this.#session, { path: SERVICES, query, signal });
  }

  /** A service in full. */
  service(serviceId: string, options: CallOptions = {}): Promise<ServiceDetails> {
    return fetchJson(this.#session, { path: `${SERVICES}/${part(serviceId)}`, ...options });
  }

  /** The JSON Schema of a service's input, with the API's names, which `parameters` of a job have too. */
  async schema(serviceId: string, options: CallOptions = {}): Promise<JsonObject> {
    const path = `${SERVICES}/${part(serviceId)}/schema`;
    return (await fetchRaw(this.#session, { path, ...options })) as JsonObject;
  }

  /** What a machine needs to perform a service. */
  requirements(serviceId: string, options: CallOptions = {}): Promise<ServiceRequirements> {
    return fetchJson(this.#session, { path: `${SERVICES}/${part(serviceId)}/requirements`, ...options });
  }

  /**
   * Whether a request would be taken, without making a job: every fault at once, and warnings.
   *
   * @param requestData - The body of a service call, with the API's names.
   */
  validate(serviceId: string, requestData: object, options: CallOptions = {}): Promise<Validation> {
    const json = { service_id: serviceId, request_data: requestData };
    const path = `${SERVICES}/validate`;
    return fetchJson(this.#session, { method: "POST", path, json, repeatable: true, ...options });
  }
}
