/**
 * A form with its button.
 *
 *   <Form action="Create key" icon="key" onSend={async () => { await api("client").keys.create(name); notify("Created."); }}>
 *     <TextField label="Name" ... />
 *   </Form>
 *
 * It is busy until the promise of `onSend` settles, and shows an error above the fields.
 */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { IconName } from "../icon.tsx";
import { Failure } from "../notice.tsx";
import { Button } from "./button.tsx";

export interface FormProps {
  children: ComponentChildren;
  /** The button's text. */
  action: string;
  icon?: IconName;
  disabled?: boolean;
  /** The fields and the button share a row where there is space. */
  inline?: boolean;
  /** Next to the button. */
  beside?: ComponentChildren;
  onSend: () => Promise<void>;
}

export function Form({ children, action, icon, disabled, inline, beside, onSend }: FormProps) {
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    await onSend().catch(setError);
    setBusy(false);
  };
  const fields = (
    <>
      {children}
      <div class="row">
        <Button type="submit" kind="main" icon={icon} busy={busy} disabled={disabled}>
          {action}
        </Button>
        {beside}
      </div>
    </>
  );
  return (
    <form class="stack" onSubmit={submit} noValidate>
      {error !== undefined && <Failure error={error} />}
      {inline ? <div class="form-grid">{fields}</div> : fields}
    </form>
  );
}
