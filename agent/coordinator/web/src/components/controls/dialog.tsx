/**
 * Dialogs, based on <dialog>, so that the browser handles Escape, the focus and the page behind.
 *
 *   <Dialog title="A picture" open={open} onClose={() => setOpen(false)}>...</Dialog>      for input: <FormDialog>
 *
 *   if (await ask({ title: "Revoke this key?", text: "Programs that use it stop working.", action: "Revoke" })) ...
 */
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { Store, useValue } from "../../store.ts";
import { Button } from "./button.tsx";

export interface DialogProps {
  title: string;
  open: boolean;
  onClose: () => void;
  children: ComponentChildren;
  /** Buttons at the end. Without any, the dialog has a button that closes it. */
  actions?: ComponentChildren;
  /** Escape does not close it meanwhile. */
  busy?: boolean;
}

export function Dialog({ title, open, onClose, children, actions, busy = false }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    if (open && !dialog.current?.open) dialog.current?.showModal();
    if (!open) dialog.current?.close();
  }, [open]);
  return (
    <dialog
      class="dialog"
      ref={dialog}
      aria-labelledby={id}
      onClose={onClose}
      onCancel={(event) => busy && event.preventDefault()}
    >
      {open && (
        <div class="stack">
          <h2 id={id}>{title}</h2>
          {children}
          <div class="row dialog-actions">{actions ?? <Button onClick={onClose}>Close</Button>}</div>
        </div>
      )}
    </dialog>
  );
}

interface Question {
  title: string;
  text: string;
  action: string;
  /** The action can be undone. */
  harmless?: boolean;
}

const pending = new Store<(Question & { answer: (yes: boolean) => void }) | null>(null);

/** Ask for confirmation before an action, usually one that cannot be undone. */
export function ask(question: Question): Promise<boolean> {
  pending.value?.answer(false);
  return new Promise((resolve) => {
    pending.value = {
      ...question,
      answer: (yes) => {
        pending.value = null;
        resolve(yes);
      },
    };
  });
}

/** Shows the question of `ask`; the page contains it once. */
export function Questions() {
  const question = useValue(pending);
  return (
    <Dialog
      title={question?.title ?? ""}
      open={question !== null}
      onClose={() => question?.answer(false)}
      actions={
        <>
          <Button onClick={() => question?.answer(false)}>Cancel</Button>
          <Button kind={question?.harmless ? "main" : "danger"} onClick={() => question?.answer(true)}>
            {question?.action}
          </Button>
        </>
      }
    >
      <p>{question?.text}</p>
    </Dialog>
  );
}
