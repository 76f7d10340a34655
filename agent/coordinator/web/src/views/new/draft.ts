/** A request while its form is filled in: its values, and the coordinator's validation of them. */
import { useEffect, useState } from "preact/hooks";
import { fieldErrors } from "../../errors.ts";
import { checked } from "../../schema/check.ts";
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
  /** The errors to show, by field name: those of fields that were edited or that `reveal` named. */
  errors: Record<string, string>;
  warnings: Record<string, string>;
  /** The names of all wrong fields, in the form's order. */
  wrong: string[];
  /** Errors that are about none of the fields. */
  general: string[];
  /** Show the error of a field that was not edited. */
  reveal: (name: string) => void;
  /** Validate the whole request. Returns whether it is valid. */
  validate: () => Promise<boolean>;
  /** Show the validation errors in an API error. Returns whether there are any. */
  refuse: (error: unknown) => boolean;
}

/**
 * Use a draft. `fields` are those of the service and of the job. The values of a sealed job stay in the browser, which alone
 * checks them.
 */
export function useDraft(serviceId: string, fields: FormField[], start: FormValues, sealed: boolean): Draft {
  const [values, setValues] = useState<FormValues>({ ...initialValues(fields), ...start });
  const [touched, setTouched] = useState<ReadonlySet<string>>(new Set());
  const [refused, setRefused] = useState<Record<string, string>>({});
  const [warnings, setWarnings] = useState<Record<string, string>>({});
  const names = fields.filter(({ hidden }) => !hidden).map((field) => field.name);
  const reveal = (name: string) => setTouched((touched) => new Set(touched).add(name));

  const validated = async (signal?: AbortSignal) => {
    if (sealed) {
      setRefused({});
      setWarnings({});
      return Object.keys(checked(fields, values)).length === 0;
    }
    const request = requestOf(fields, withFiles(values));
    const validation = await api("client").registry.validate(serviceId, request, { signal });
    setRefused(byField(validation.errors, fields));
    setWarnings(byField(validation.warnings, fields));
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
  }, [values, sealed]);

  const errors = { ...refused, ...checked(fields, values) };
  return {
    values,
    set: (name, value) => {
      setValues((values) => ({ ...values, ...suggested(fields, values, name, value), [name]: value }));
      // The coordinator's answer was about the former value.
      setRefused(({ [name]: _, ...others }) => others);
      reveal(name);
    },
    errors: Object.fromEntries(Object.entries(errors).filter(([name]) => touched.has(name))),
    warnings,
    wrong: names.filter((name) => name in errors),
    general: Object.entries(refused).flatMap(([name, error]) => (names.includes(name) ? [] : error)),
    reveal,
    validate: () => {
      setTouched(new Set(names));
      return validated();
    },
    refuse: (error) => {
      const problems = Object.entries(fieldErrors(error)).map(([field, message]) => ({ field, message }));
      setRefused(byField(problems, fields));
      setTouched(new Set(names));
      return problems.length > 0;
    },
  };
}
