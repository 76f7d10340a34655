/**
 * A form in a dialog: how all actions that need input are done.
 *
 *   <FormDialog title="New key" action="Create key" icon="key" open={open} onClose={close} onSend={create}>
 *     {(errors) => <TextField label="Name" required value={name} onInput={setName} error={errors.name} />}
 *   </FormDialog>
 *
 * It is busy until the promise of `onSend` settles, and then closes. An error of a field is given to the children by the field's
 * path, any other is shown above them. The fields keep what was entered after an error; reset them when the dialog opens.
 */
import type { ComponentChildren } from "preact";
import { useEffect, useId, useState } from "preact/hooks";
import { fieldErrors } from "../../errors.ts";
import type { IconName } from "../icon.tsx";
import { Failure } from "../notice.tsx";
import { Button } from "./button.tsx";
import { Dialog } from "./dialog.tsx";

export interface FormDialogProps {
  title: string;
  open: boolean;
  onClose: () => void;
  onSend: () => Promise<unknown>;
  /** The button's text. */
  action: string;
  icon?: IconName;
  /** It cannot be undone. */
  danger?: boolean;
  disabled?: boolean;
  children?: ComponentChildren | ((errors: Record<string, string>) => ComponentChildren);
}

export function FormDialog({ title, open, onClose, onSend, action, ...rest }: FormDialogProps) {
  const { icon, danger = false, disabled, children } = rest;
  const form = useId();
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  useEffect(() => setError(undefined), [open]);
  const errors = fieldErrors(error);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    try {
      await onSend();
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
            form={form}
            kind={danger ? "danger" : "main"}
            icon={icon}
            busy={busy}
            disabled={disabled}
          >
            {action}
          </Button>
        </>
      }
    >
      <form class="stack" id={form} onSubmit={submit} noValidate>
        {error !== undefined && Object.keys(errors).length === 0 && <Failure error={error} />}
        {typeof children === "function" ? children(errors) : children}
      </form>
    </Dialog>
  );
}
