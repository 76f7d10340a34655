/** `client.registry`: the services, their schemas and requirements. Needs no key. */

import { type CallOptions, fetchRaw, part } from "../http/transport.js";
import type { ServiceDetails, ServiceList, ServiceRequirements, Validation } from "../models.js";
import type { JsonObject } from "../verification/shape.js";
import { Calls } from "./calls.js";

const SERVICES = "/v1/registry/services";

/** The services, their schemas and requirements. */
export class Registry extends Calls {
  /** Return the services, optionally of a `category`, or with `search` in their name, description or tags. */
  services(
    options: { category?: string | undefined; search?: string | undefined } & CallOptions = {},
  ): Promise<ServiceList> {
    return this.read(SERVICES, options);
  }

  /** Return a service with its models and output schema. */
  service(serviceId: string, options: CallOptions = {}): Promise<ServiceDetails> {
    return this.read(`${SERVICES}/${part(serviceId)}`, options);
  }

  /** Return the JSON Schema of a service's input, with the API's names, as in the `parameters` of a job. */
  async schema(serviceId: string, options: CallOptions = {}): Promise<JsonObject> {
    const path = `${SERVICES}/${part(serviceId)}/schema`;
    return (await fetchRaw(this.session, { path, ...options })) as JsonObject;
  }

  /** Return the hardware that a service and its models need. */
  requirements(serviceId: string, options: CallOptions = {}): Promise<ServiceRequirements> {
    return this.read(`${SERVICES}/${part(serviceId)}/requirements`, options);
  }

  /**
   * Validate a request without creating a job. Returns all validation errors, and warnings.
   *
   * @param requestData - The body of a service call, with the API's names.
   */
  validate(serviceId: string, requestData: object, options: CallOptions = {}): Promise<Validation> {
    return this.post(`${SERVICES}/validate`, { serviceId, requestData }, { repeatable: true, ...options });
  }
}
