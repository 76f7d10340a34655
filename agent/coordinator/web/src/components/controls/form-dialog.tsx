/**
 * A form in a dialog: how all actions that need input are done.
 *
 *   <FormButton title="New key" action="Create key" icon="key" initial={{ name: "" }} onSend={({ name }) => create(name)}>
 *     {(field) => <TextField label="Name" required {...field("name")} />}
 *   </FormButton>
 *
 * The values have the API's names, by which its validation errors find their fields; any other error is shown above them. The
 * dialog is busy until the promise of `onSend` settles, and then closes, or keeps what was entered after an error.
 */

import type { ComponentChildren } from "preact";
import { useEffect, useId, useState } from "preact/hooks";

import { fieldErrors } from "../../errors.ts";
import { Failure } from "../notice.tsx";
import { Button, type ButtonProps } from "./button.tsx";
import { Dialog } from "./dialog.tsx";

/** What the control of a value needs. */
export interface FieldProps<Value> {
  value: Value;
  onInput: (value: Value) => void;
  error: string | undefined;
}

export type FieldOf<Values> = <Name extends keyof Values & string>(name: Name) => FieldProps<Values[Name]>;

interface FormProps<Values> {
  title: string;
  /** The button's text. */
  action: string;
  /** It cannot be undone. */
  danger?: boolean;
  /** The values whenever the dialog opens. */
  initial: Values;
  /** Whether the values can be sent. */
  ready?: (values: Values) => boolean;
  onSend: (values: Values) => Promise<unknown>;
  children: (field: FieldOf<Values>, values: Values) => ComponentChildren;
}

export interface FormDialogProps<Values> extends FormProps<Values> {
  open: boolean;
  onClose: () => void;
}

export function FormDialog<Values>({ title, open, onClose, action, ...form }: FormDialogProps<Values>) {
  const { danger = false, initial, ready = () => true, onSend, children } = form;
  const id = useId();
  const [values, setValues] = useState(initial);
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    setValues(initial);
    setError(undefined);
  }, [open]);

  const errors = fieldErrors(error);
  const names = new Set<string>();
  const field: FieldOf<Values> = (name) => {
    names.add(name);
    return {
      value: values[name],
      onInput: (value) => setValues((values) => ({ ...values, [name]: value })),
      error: errors[name],
    };
  };
  const fields = children(field, values);
  const isAtField = Object.keys(errors).some((name) => names.has(name));
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    try {
      await onSend(values);
      onClose();
    } catch (error) {
      setError(error);
    } finally {
      setBusy(false);
    }
  };

  return (
    <Dialog
      title={title}
      open={open}
      onClose={onClose}
      busy={busy}
      actions={
        <>
          <Button onClick={onClose} disabled={busy}>
            Cancel
          </Button>
          <Button
            type="submit"
            form={id}
            kind={danger ? "danger" : "main"}
            busy={busy}
            disabled={!ready(values)}
          >
            {action}
          </Button>
        </>
      }
    >
      <form class="stack" id={id} onSubmit={submit} noValidate>
        {error !== undefined && !isAtField && <Failure error={error} />}
        {fields}
      </form>
    </Dialog>
  );
}

interface FormButtonProps<Values> extends FormProps<Values>, Pick<ButtonProps, "kind" | "size" | "icon"> {
  /** The button's text, unless it is the dialog's title. */
  label?: string;
}

/** A button that opens the dialog. */
export function FormButton<Values>({ label, kind = "main", size, icon, ...form }: FormButtonProps<Values>) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <Button kind={kind} size={size} icon={icon} onClick={() => setOpen(true)}>
        {label ?? form.title}
      </Button>
      <FormDialog {...form} open={open} onClose={() => setOpen(false)} />
    </>
  );
}
