/** A request while its form is filled in: its values, and the coordinator's validation of them. */
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

/** The request is validated once nothing was typed for this long. */
const QUIET_MS = 450;

export interface Draft {
  values: FormValues;
  set: (name: string, value: unknown) => void;
  /** By field name; before the first attempt to submit, only those of edited fields. */
  errors: Record<string, string>;
  warnings: Record<string, string>;
  /** Validate the whole request. Returns whether it is valid. */
  validate: () => Promise<boolean>;
  /** Show the validation errors in an API error. Returns whether there are any. */
  refuse: (error: unknown) => boolean;
}

/** Use a draft. `fields` are those of the service and of the job. */
export function useDraft(serviceId: string, fields: FormField[], start: FormValues): Draft {
  const [values, setValues] = useState<FormValues>({ ...initialValues(fields), ...start });
  const [touched, setTouched] = useState<ReadonlySet<string>>(new Set());
  const [errors, setErrors] = useState<Record<string, string>>({});
  const [warnings, setWarnings] = useState<Record<string, string>>({});
  const names = fields.map((field) => field.name);

  const validated = async (signal?: AbortSignal) => {
    const request = requestOf(fields, withFiles(values));
    const validation = await api("client").registry.validate(serviceId, request, { signal });
    setErrors(byField(validation.errors, names));
    setWarnings(byField(validation.warnings, names));
    return validation.valid;
  };

  useEffect(() => {
    const abort = new AbortController();
    // A failed request is ignored: submitting validates again and reports the failure.
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
    validate: () => {
      setTouched(new Set(names));
      return validated();
    },
    refuse: (error) => {
      const problems = Object.entries(fieldErrors(error)).map(([field, message]) => ({ field, message }));
      setErrors(byField(problems, names));
      return problems.length > 0;
    },
  };
}
