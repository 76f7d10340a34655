/** A request that is being written: what is in its fields, and what the coordinator says about it. */
import { useEffect, useState } from "preact/hooks";
import { fieldErrors } from "../../errors.ts";
import { byField } from "../../schema/estimate.ts";
import {
  type FormField,
  type FormValues,
  initialValues,
  requestOf,
  suggested,
  withFiles,
} from "../../schema/fields.ts";
import { api } from "../../session.ts";

/** How long nothing is typed before a request is checked. */
const QUIET_MS = 450;

export interface Draft {
  values: FormValues;
  set: (name: string, value: unknown) => void;
  /** By the names of fields; before the first attempt to submit only of fields that were filled in. */
  errors: Record<string, string>;
  warnings: Record<string, string>;
  /** Check all of it; whether it would be taken. */
  check: () => Promise<boolean>;
  /** Show what an answer said about fields; whether it did. */
  refuse: (error: unknown) => boolean;
}

/** `fields` are the service's, with the job's own beside them. */
export function useDraft(serviceId: string, fields: FormField[], start: FormValues): Draft {
  const [values, setValues] = useState<FormValues>({ ...initialValues(fields), ...start });
  const [touched, setTouched] = useState<ReadonlySet<string>>(new Set());
  const [errors, setErrors] = useState<Record<string, string>>({});
  const [warnings, setWarnings] = useState<Record<string, string>>({});
  const names = fields.map((field) => field.name);

  const validated = async (signal?: AbortSignal) => {
    const request = requestOf(fields, withFiles(values));
    const told = await api("client").registry.validate(serviceId, request, { signal });
    setErrors(byField(told.errors, names));
    setWarnings(byField(told.warnings, names));
    return told.valid;
  };

  useEffect(() => {
    const abort = new AbortController();
    // A check that fails is no news: submitting asks again, and says why.
    const timer = setTimeout(() => void validated(abort.signal).catch(() => undefined), QUIET_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [values]);

  return {
    values,
    set: (name, value) => {
      setValues((values) => ({ ...values, ...suggested(fields, values, name, value), [name]: value }));
      setTouched((touched) => new Set(touched).add(name));
    },
    errors: Object.fromEntries(Object.entries(errors).filter(([name]) => touched.has(name))),
    warnings,
    check: () => {
      setTouched(new Set(names));
      return validated();
    },
    refuse: (error) => {
      const faults = Object.entries(fieldErrors(error)).map(([field, message]) => ({ field, message }));
      setErrors(byField(faults, names));
      return faults.length > 0;
    },
  };
}
