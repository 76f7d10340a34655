/** A field of a form. */

export type FieldKind =
  | "text"
  | "number"
  | "choice"
  | "choices"
  | "flag"
  | "file"
  | "model"
  | "names"
  | "lines"
  | "time"
  | "labels"
  | "money"
  | "json";

export interface FormField {
  name: string;
  label: string;
  kind: FieldKind;
  help?: string | undefined;
  required?: boolean;
  /** The prefix of an optional object in which it is required: a form that fills in part of the object needs it. */
  neededIn?: string | undefined;
  /** The title of the group in which it is folded at first; undefined for the fields that stand first. */
  group?: string | undefined;
  /** Part of the request, but not of the form. */
  hidden?: boolean;
  /** A hidden field's value belongs into this other field. */
  instead?: string | undefined;
  default?: unknown;
  /** A default that the form does not show. */
  preset?: unknown;
  options?: string[] | undefined;
  /** The names of options. */
  names?: Record<string, string> | undefined;
  /** Common values of a text. */
  suggestions?: string[];
  /** What an empty field means. */
  empty?: string | undefined;
  unit?: string | undefined;
  /** The kinds of files, as in HTML's attribute of this name. */
  accept?: string | undefined;
  /** Bytes of the largest file. */
  maxFile?: number | undefined;
  integer?: boolean;
  min?: number | undefined;
  max?: number | undefined;
  /** Exclusive minimum. */
  above?: number | undefined;
  maxLength?: number | undefined;
  /** A valid value, for error messages. */
  example?: unknown;
  /** Whether a file's content may be typed into the form. */
  inline?: boolean;
  placeholder?: string | undefined;
}
