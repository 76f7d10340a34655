/** The choice to seal a job: to which miner, and what that protects. */
import type { ServiceDetails } from "@aitbc/client";
import { CheckField, SelectField } from "../../components/controls/field.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Failure, Notice } from "../../components/notice.tsx";
import { codeOf } from "../../errors.ts";
import { useLoad } from "../../load.ts";
import { api } from "../../session.ts";

export interface Seal {
  on: boolean;
  /** The miner that can read the job; empty while none is chosen. */
  minerId: string;
  /** Whether the miner's key was fetched and verified. */
  ready: boolean;
}

export const OPEN: Seal = { on: false, minerId: "", ready: false };

interface SealFieldProps {
  service: ServiceDetails;
  seal: Seal;
  onInput: (seal: Seal) => void;
}

export function SealField({ service, seal, onInput }: SealFieldProps) {
  const isPossible = globalThis.crypto.subtle !== undefined;
  return (
    <section class="stack seal" aria-label="Sealing">
      <CheckField
        label="Seal this job"
        checked={seal.on}
        onInput={(on) => onInput({ ...OPEN, on: on && isPossible })}
        help={
          isPossible
            ? "Only this browser and the machine that you choose can read the input and the result. Turn it on before you type secrets: until then, the coordinator checks what you type."
            : "Open this page with https to use it: browsers encrypt only there."
        }
      />
      {seal.on && <Sealed service={service} seal={seal} onInput={onInput} />}
    </section>
  );
}

function Sealed({ service, seal, onInput }: SealFieldProps) {
  const { serviceId } = service;
  const market = useLoad(
    (signal) => api("client").marketplace.miners({ service: serviceId, signal }),
    [serviceId],
  );
  const miners = (market.data?.miners ?? []).filter(({ online }) => online);
  return (
    <>
      {market.error !== undefined && <Failure error={market.error} retry={market.reload} />}
      <SelectField
        label="Sealed to"
        required
        value={seal.minerId}
        onInput={(minerId) => onInput({ ...seal, minerId, ready: false })}
        options={[
          { value: "", label: miners.length > 0 ? "Choose a miner" : "No miner is online for this service" },
          ...miners.map(({ minerId, name, reputation }) => ({
            value: minerId,
            label: `${name}, reputation ${reputation.toFixed(1)}`,
          })),
        ]}
      />
      {seal.minerId && <Key key={seal.minerId} seal={seal} onInput={onInput} />}
      <details class="fold small">
        <summary>What sealing protects and what it does not</summary>
        <ul>
          <li>
            Parameters, files, results, events and the log are encrypted in this browser and on the miner. The
            coordinator, its database, its backups and the network see only encrypted data.
          </li>
          <li>
            The service, the model, the sizes of files, the times and the price stay readable, and so do a
            name and labels that you enter.
          </li>
          <li>
            The owner of the machine can read its memory while it runs, unless the receipt has an attestation.
          </li>
          <li>
            Only this browser has the key to the result. If you clear its data, nobody can read the result.
          </li>
          <li>
            The coordinator sends you this page. If you do not trust it, seal with the command{" "}
            <code>aitbc</code> or an SDK.
          </li>
        </ul>
      </details>
    </>
  );
}

/** The miner's key, which this browser verifies before it uses it. */
function Key({ seal, onInput }: Pick<SealFieldProps, "seal" | "onInput">) {
  const key = useLoad(async (signal) => {
    const found = await api("client").miners.encryptionKey(seal.minerId, { signal });
    onInput({ ...seal, ready: true });
    return found;
  });
  if (key.error !== undefined) {
    return codeOf(key.error) === "NOT_FOUND" ? (
      <Notice tone="wait" title="This miner accepts no sealed jobs">
        <p>Choose another one.</p>
      </Notice>
    ) : (
      <Failure error={key.error} retry={key.reload} />
    );
  }
  if (!key.data) return <p class="small quiet">Fetching the miner's key…</p>;
  return (
    <p class="small quiet" role="status">
      The key is signed by this miner's identity, and expires <Ago at={key.data.expiresAt} />. The machine
      proves nothing about its memory.
    </p>
  );
}
