/**
 * The one error tree of this package.
 *
 * ```text
 * AITBCError
 * +-- ConfigurationError           no coordinator or key is configured, or the address is malformed
 * +-- TransportError               no response from the coordinator, or an invalid one
 * +-- TimeoutError                 an operation took longer than the caller allowed
 * +-- JobFailed                    a job ended without a result
 * +-- VerificationError            a signature, digest or proof does not verify
 * |   +-- FormatError              data is not in the exact form that the protocol requires
 * +-- APIError                     the coordinator returned an error; one class for each code below
 *     +-- InvalidJobType           INVALID_JOB_TYPE, 400
 *     +-- Unauthorized             UNAUTHORIZED, 401
 *     +-- InsufficientBalance      INSUFFICIENT_BALANCE, 402
 *     +-- Forbidden                FORBIDDEN, 403
 *     +-- NotFound                 NOT_FOUND, 404
 *     +-- JobNotFound              JOB_NOT_FOUND, 404
 *     +-- Conflict                 CONFLICT, 409
 *     +-- JobAlreadyCompleted      JOB_ALREADY_COMPLETED, 409
 *     +-- JobNotCompleted          JOB_NOT_COMPLETED, 409
 *     +-- StaleLease               STALE_LEASE, 409
 *     +-- OfferNotAvailable        OFFER_NOT_AVAILABLE, 410
 *     +-- PayloadTooLarge          PAYLOAD_TOO_LARGE, 413
 *     +-- CannotRun                CANNOT_RUN, 422
 *     +-- ValidationFailed         VALIDATION_ERROR, 422
 *     +-- RateLimitExceeded        RATE_LIMIT_EXCEEDED, 429
 *     +-- InternalError            INTERNAL_ERROR, 500
 *     +-- ServiceUnavailable       SERVICE_UNAVAILABLE, 503
 * ```
 *
 * An aborted call is rejected with the signal's reason, like `fetch`, not with one of these errors.
 */

import type { Reason } from "./answers.js";

/** Base of all errors of this package. */
export class AITBCError extends Error {
  override name = "AITBCError";
}

/** No coordinator or key is configured, or the address is malformed. The message names the setting. */
export class ConfigurationError extends AITBCError {
  override name = "ConfigurationError";
}

/** The coordinator sent no response, or an invalid one. `sent` is false if the request was never sent. */
export class TransportError extends AITBCError {
  override name = "TransportError";
  readonly sent: boolean;

  constructor(message: string, options: { sent?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.sent = options.sent ?? true;
  }
}

/** An operation took longer than the caller allowed. A job continues to run. */
export class TimeoutError extends AITBCError {
  override name = "TimeoutError";
}

/** A job ended without a result. `status` is `failed` or `cancelled`; `code` and `reason` give the cause. */
export class JobFailed extends AITBCError {
  override name = "JobFailed";

  constructor(
    readonly jobId: string,
    readonly status: string,
    readonly code: string,
    readonly reason: string,
  ) {
    super(`Job ${jobId} ${status === "cancelled" ? "was" : "has"} ${status}: ${reason} (${code})`);
  }
}

/** A signature, a digest or a proof does not verify. */
export class VerificationError extends AITBCError {
  override name = "VerificationError";
}

/** Data is not in the exact form that the protocol requires. */
export class FormatError extends VerificationError {
  override name = "FormatError";
}

/** The optional parts of an error response. */
export type APIErrorMore = {
  [Field in "details" | "requestId" | "retryAfter"]?: APIError[Field] | undefined;
};

/** The coordinator returned an error. */
export class APIError extends AITBCError {
  override name = "APIError";
  /** Further information, with the API's names, such as validation errors by field or the status of a job. */
  readonly details: Record<string, unknown>;
  /** The id of the request, which the operator can look up in the log. */
  readonly requestId: string | undefined;
  /** Seconds to wait before a retry, if the coordinator requests that. */
  readonly retryAfter: number | undefined;

  /**
   * @param status - The HTTP status.
   * @param code - The code on the wire, such as `JOB_NOT_FOUND`.
   */
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    more: APIErrorMore = {},
  ) {
    super(message);
    this.details = more.details ?? {};
    this.requestId = more.requestId;
    this.retryAfter = more.retryAfter;
  }
}

/** The job type is not supported. */
export class InvalidJobType extends APIError {
  override name = "InvalidJobType";
}

/** The key is missing or unknown. */
export class Unauthorized extends APIError {
  override name = "Unauthorized";
}

/** The balance is less than the job's maximum cost. */
export class InsufficientBalance extends APIError {
  override name = "InsufficientBalance";
}

/** The key's role does not permit the operation. */
export class Forbidden extends APIError {
  override name = "Forbidden";
}

/** The resource does not exist. */
export class NotFound extends APIError {
  override name = "NotFound";
}

/** The job does not exist or belongs to another account. */
export class JobNotFound extends APIError {
  override name = "JobNotFound";
}

/** The request conflicts with the current state. */
export class Conflict extends APIError {
  override name = "Conflict";
}

/** The job has ended and cannot be changed. */
export class JobAlreadyCompleted extends APIError {
  override name = "JobAlreadyCompleted";
}

/** The job has no results, because it has not ended or did not complete. `details` contain the status and the cause. */
export class JobNotCompleted extends APIError {
  override name = "JobNotCompleted";
}

/** The lease has ended or belongs to another miner. */
export class StaleLease extends APIError {
  override name = "StaleLease";
}

/** The offer is no longer available. */
export class OfferNotAvailable extends APIError {
  override name = "OfferNotAvailable";
}

/** The body or file exceeds the coordinator's size limit. */
export class PayloadTooLarge extends APIError {
  override name = "PayloadTooLarge";
}

/** No known miner can ever run the job, which was not created. With `wait: true`, it waits for a miner that can. */
export class CannotRun extends APIError {
  override name = "CannotRun";

  /** The reasons, as `client.jobs.explain` returns them. */
  get reasons(): Reason[] {
    const { reasons } = this.details;
    return Array.isArray(reasons) ? (reasons as Reason[]) : [];
  }
}

/** The request is not valid. `fields` contains the validation errors. */
export class ValidationFailed extends APIError {
  override name = "ValidationFailed";

  /** The validation errors by the dotted path of their field, with the API's names. */
  get fields(): Record<string, string> {
    const fields = this.details.fields;
    if (typeof fields !== "object" || fields === null) return {};
    return Object.fromEntries(Object.entries(fields).map(([name, text]) => [name, String(text)]));
  }
}

/** Too many requests, and the retries are used up. */
export class RateLimitExceeded extends APIError {
  override name = "RateLimitExceeded";
}

/** The coordinator failed. Report `requestId` to its operator. */
export class InternalError extends APIError {
  override name = "InternalError";
}

/** The coordinator is temporarily unavailable, and the retries are used up. */
export class ServiceUnavailable extends APIError {
  override name = "ServiceUnavailable";
}

/** The error class for each code on the wire. */
export const API_ERRORS: Readonly<Record<string, typeof APIError>> = {
  INVALID_JOB_TYPE: InvalidJobType,
  UNAUTHORIZED: Unauthorized,
  INSUFFICIENT_BALANCE: InsufficientBalance,
  FORBIDDEN: Forbidden,
  NOT_FOUND: NotFound,
  JOB_NOT_FOUND: JobNotFound,
  CONFLICT: Conflict,
  JOB_ALREADY_COMPLETED: JobAlreadyCompleted,
  JOB_NOT_COMPLETED: JobNotCompleted,
  STALE_LEASE: StaleLease,
  OFFER_NOT_AVAILABLE: OfferNotAvailable,
  PAYLOAD_TOO_LARGE: PayloadTooLarge,
  CANNOT_RUN: CannotRun,
  VALIDATION_ERROR: ValidationFailed,
  RATE_LIMIT_EXCEEDED: RateLimitExceeded,
  INTERNAL_ERROR: InternalError,
  SERVICE_UNAVAILABLE: ServiceUnavailable,
};

/**
 * Return the error of a response, of the class for its code. A response in another form gets the code `HTTP_<status>`.
 *
 * @param body - The text of the response.
 */
export function apiError(status: number, body: string, retryAfter?: number): APIError {
  const error = errorOf(body);
  if (error === undefined) {
    const text = `The server returned HTTP status ${status} without a coordinator's error. Is the address right?`;
    return new APIError(status, `HTTP_${status}`, text, { retryAfter });
  }
  const { details, request_id: requestId } = error;
  const kind = Object.hasOwn(API_ERRORS, error.code) ? API_ERRORS[error.code] : undefined;
  return new (kind ?? APIError)(status, error.code, String(error.message ?? ""), {
    details: typeof details === "object" && details !== null ? { ...details } : undefined,
    requestId: typeof requestId === "string" ? requestId : undefined,
    retryAfter,
  });
}

interface WireError {
  code: string;
  message?: unknown;
  details?: unknown;
  request_id?: unknown;
}

function errorOf(body: string): WireError | undefined {
  try {
    const error = JSON.parse(body)?.error;
    return typeof error?.code === "string" ? error : undefined;
  } catch {
    return undefined;
  }
}
