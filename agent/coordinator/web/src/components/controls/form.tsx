/**
 * A form with its button, in a page.
 *
 *   <Form action="Sign in" onSend={() => signInWithKey(key)}>
 *     <TextField label="API key" ... />
 *   </Form>
 *
 * It is busy until the promise of `onSend` settles, and shows an error above the fields.
 */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

import { Failure } from "../notice.tsx";
import { Button } from "./button.tsx";

export interface FormProps {
  children: ComponentChildren;
  /** The button's text. */
  action: string;
  onSend: () => Promise<void>;
}

export function Form({ children, action, onSend }: FormProps) {
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);

  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    await onSend().catch(setError);
    setBusy(false);
  };
  return (
    <form class="stack" onSubmit={submit} noValidate>
      {error !== undefined && <Failure error={error} />}
      {children}
      <div class="row">
        <Button type="submit" kind="main" busy={busy}>
          {action}
        </Button>
      </div>
    </form>
  );
}
