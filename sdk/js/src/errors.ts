/**
 * The one error tree of this package.
 *
 * ```text
 * AITBCError
 * +-- ConfigurationError           no coordinator or key to use, or a malformed address
 * +-- TransportError               no answer from the coordinator, or none that can be understood
 * +-- TimeoutError                 something took longer than the caller allowed
 * +-- JobFailed                    a job that was waited for ended without a result
 * +-- VerificationError            something signed, or a digest, does not agree
 * |   +-- FormatError              bytes or text are not in the exact form that the protocol demands
 * +-- APIError                     the coordinator answered with an error; one class for each code below
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
 *     +-- ValidationFailed         VALIDATION_ERROR, 422
 *     +-- RateLimitExceeded        RATE_LIMIT_EXCEEDED, 429
 *     +-- InternalError            INTERNAL_ERROR, 500
 *     +-- ServiceUnavailable       SERVICE_UNAVAILABLE, 503
 * ```
 *
 * A call that its caller aborts is rejected with the signal's reason, as `fetch` does it, not with one of these.
 */

/** Base of every error that this package raises on purpose. */
export class AITBCError extends Error {
  override name = "AITBCError";
}

/** There is no coordinator or key to use, or its address is malformed. The message says what to set. */
export class ConfigurationError extends AITBCError {
  override name = "ConfigurationError";
}

/** The coordinator gave no answer, or none that can be understood. `sent` is false when it never got the request. */
export class TransportError extends AITBCError {
  override name = "TransportError";
  readonly sent: boolean;

  constructor(message: string, options: { sent?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.sent = options.sent ?? true;
  }
}

/** Something took longer than the caller allowed. A job that was waited for goes on. */
export class TimeoutError extends AITBCError {
  override name = "TimeoutError";
}

/** A job ended without a result. `status` is `failed` or `cancelled`, `code` and `reason` are the cause's. */
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

/** A signature, a digest or a proof does not agree with what it stands for. */
export class VerificationError extends AITBCError {
  override name = "VerificationError";
}

/** Bytes or text are not in the exact form that the protocol demands. */
export class FormatError extends VerificationError {
  override name = "FormatError";
}

/** What an error answer says, beside its code and message. */
export interface APIErrorMore {
  /** What the coordinator adds, with the names of the API: fields of a validation, the state of a job. */
  details?: Record<string, unknown> | undefined;
  /** What to quote to the coordinator's operator. */
  requestId?: string | undefined;
  /** Seconds after which the coordinator says to come back. */
  retryAfter?: number | undefined;
}

/** The coordinator answered with an error. */
export class APIError extends AITBCError {
  override name = "APIError";
  /** What the coordinator adds, with the names of the API: fields of a validation, the state of a job. */
  readonly details: Record<string, unknown>;
  /** What to quote to the coordinator's operator. */
  readonly requestId: string | undefined;
  /** Seconds after which the coordinator says to come back, where it says so. */
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

/** The wallet does not hold the job's maximum cost. */
export class InsufficientBalance extends APIError {
  override name = "InsufficientBalance";
}

/** The key's role does not allow this. */
export class Forbidden extends APIError {
  override name = "Forbidden";
}

/** Nothing stands at this address. */
export class NotFound extends APIError {
  override name = "NotFound";
}

/** The job does not exist, or is somebody else's. */
export class JobNotFound extends APIError {
  override name = "JobNotFound";
}

/** The request contradicts the present state. */
export class Conflict extends APIError {
  override name = "Conflict";
}

/** The job has ended and cannot be changed. */
export class JobAlreadyCompleted extends APIError {
  override name = "JobAlreadyCompleted";
}

/** The job has no results: it is not done yet, or it failed. `details` say the state and the cause. */
export class JobNotCompleted extends APIError {
  override name = "JobNotCompleted";
}

/** The lease has ended or was given to another miner. */
export class StaleLease extends APIError {
  override name = "StaleLease";
}

/** The offer is gone. */
export class OfferNotAvailable extends APIError {
  override name = "OfferNotAvailable";
}

/** The body or file is larger than the coordinator takes. */
export class PayloadTooLarge extends APIError {
  override name = "PayloadTooLarge";
}

/** The request does not fit the schema. `fields` says for each wrong field what is wrong with it. */
export class ValidationFailed extends APIError {
  override name = "ValidationFailed";

  /** What is wrong, by the field's dotted path, with the names of the API. */
  get fields(): Record<string, string> {
    const fields = this.details.fields;
    if (typeof fields !== "object" || fields === null) return {};
    return Object.fromEntries(Object.entries(fields).map(([name, text]) => [name, String(text)]));
  }
}

/** Too many requests; the retries were used up. */
export class RateLimitExceeded extends APIError {
  override name = "RateLimitExceeded";
}

/** The coordinator has a fault. Quote `requestId` to its operator. */
export class InternalError extends APIError {
  override name = "InternalError";
}

/** The coordinator cannot answer at the moment; the retries were used up. */
export class ServiceUnavailable extends APIError {
  override name = "ServiceUnavailable";
}

/** The class for each code on the wire. */
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
  VALIDATION_ERROR: ValidationFailed,
  RATE_LIMIT_EXCEEDED: RateLimitExceeded,
  INTERNAL_ERROR: InternalError,
  SERVICE_UNAVAILABLE: ServiceUnavailable,
};

/**
 * The error of an answer, of the class for its code. An answer in another shape becomes code `HTTP_<status>`.
 *
 * @param body - The text of the answer.
 */
export function apiError(status: number, body: string, retryAfter?: number): APIError {
  const error = errorOf(body);
  if (error === undefined) {
    const text = `The server answered with HTTP status ${status} and not in a coordinator's form.`;
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
