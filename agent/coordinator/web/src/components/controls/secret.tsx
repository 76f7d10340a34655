/**
 * Shows a secret once: a key, a token, a link.
 *
 *   <SecretDialog secret={{ title: "New key", text: key, noun: "key", advice: "Save it; it is not shown again." }} onClose={close} />
 */
import type { ComponentChildren } from "preact";
import { Button } from "./button.tsx";
import { Copyable } from "./copyable.tsx";
import { Dialog } from "./dialog.tsx";

export interface Secret {
  title: string;
  text: string;
  noun: string;
  advice: ComponentChildren;
}

export function SecretDialog({ secret, onClose }: { secret: Secret | null; onClose: () => void }) {
  return (
    <Dialog
      title={secret?.title ?? ""}
      open={secret !== null}
      onClose={onClose}
      actions={
        <Button kind="main" onClick={onClose}>
          Done
        </Button>
      }
    >
      <div class="secret">
        <Copyable text={secret?.text ?? ""} noun={secret?.noun ?? ""} />
      </div>
      <p>{secret?.advice}</p>
    </Dialog>
  );
}
